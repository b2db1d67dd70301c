"""Moments of many batches, merged as they come."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lsuv_cli.core.merging import BatchMerge
from lsuv_cli.core.moments import Moments
from support.moments import moments_of


def batches_of(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    # A batch may have no rows; the first has some.
    rows = [4, *rng.integers(0, 9, count - 1)]
    return [rng.normal(rng.normal(), 2, (number, 3)) for number in rows]


@given(st.integers(1, 40), st.randoms(use_true_random=False), st.integers(0, 99))
def test_any_order_gives_the_same_bits_and_those_of_all_together(
    count: int, random: np.random.Generator, seed: int
) -> None:
    batches = batches_of(count, seed)
    order = list(range(count))
    merges = []
    for _ in range(2):
        merge = BatchMerge()
        for batch in order:
            # Two activations, of which the second has one channel.
            merge.add(batch, [moments_of(batches[batch]), moments_of(batches[batch][:, :1])])
        assert merge.batches == count
        merges.append(merge.merged())
        random.shuffle(order)
    for one, other in zip(*merges, strict=True):
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.mean_square, other.mean_square)
    everything = moments_of(np.concatenate(batches))
    first, second = merges[0]
    assert first.count == second.count == everything.count
    np.testing.assert_allclose(first.mean, everything.mean, atol=1e-12)
    np.testing.assert_allclose(first.mean_square, everything.mean_square, rtol=1e-12)
    np.testing.assert_allclose(second.mean, everything.mean[:1], atol=1e-12)


def test_of_batches_in_their_order_few_are_held() -> None:
    merge = BatchMerge()
    held = []
    for batch in range(1000):
        merge.add(batch, [Moments(1, np.ones(1), np.ones(1))])
        held.append(len(merge._parts))
    assert max(held) <= np.log2(1000)


def test_without_a_batch_or_an_activation_there_is_nothing() -> None:
    merge = BatchMerge()
    assert merge.merged() == []
    for batch in range(3):
        merge.add(batch, [])
    assert merge.batches == 3
    assert merge.merged() == []


def test_of_nothing_but_empty_batches_nothing_is_known() -> None:
    merge = BatchMerge()
    for batch in range(3):
        merge.add(batch, [moments_of(np.empty((0, 2)))])
    (together,) = merge.merged()
    assert together.is_empty
