"""Draws of weights: what they are, and what they depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from lsuv_cli.core.choices import PreInit
from lsuv_cli.core.layout import Order, WeightLayout
from lsuv_cli.core.preinit import draw, generator, gram_deviation, haar_matrix, numpy_qr
from lsuv_cli.weights.qr import TORCH_WORTHWHILE_FLOPS, Factorisation, choose_qr

LAYOUTS = [
    WeightLayout((16, 3, 3, 3), Order.CONV),
    WeightLayout((64, 3, 3, 3), Order.CONV),
    WeightLayout((12, 2, 3, 3), Order.CONV, groups=4),
    WeightLayout((8, 1, 5), Order.CONV, groups=8),
    WeightLayout((6, 2, 2, 3, 2), Order.CONV),
    WeightLayout((4, 6, 4, 4), Order.CONV_TRANSPOSE),
    WeightLayout((6, 2, 3, 3), Order.CONV_TRANSPOSE, groups=3),
    WeightLayout((50, 20), Order.OUT_IN),
    WeightLayout((50, 20), Order.IN_OUT),
    WeightLayout((20, 50), Order.IN_OUT),
    WeightLayout((3, 20, 50), Order.IN_OUT),
    WeightLayout((1, 1), Order.OUT_IN),
]


def by_group(layout: WeightLayout, weight: np.ndarray) -> list[np.ndarray]:
    """Each group's matrix, cut out without the code under test."""
    if layout.is_convolution:
        return [part.reshape(len(part), -1) for part in np.split(weight, layout.groups)]
    return list(weight.reshape(-1, *weight.shape[-2:]))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_orthonormal_group_by_group(layout: WeightLayout) -> None:
    weight = draw(PreInit.ORTHONORMAL, layout, generator(0, "w"))
    assert weight.shape == layout.shape
    assert weight.dtype == np.float32
    matrices = by_group(layout, weight.astype(np.float64))
    assert len(matrices) == layout.matrices[0]
    for matrix in matrices:
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)
    assert gram_deviation(layout, weight) <= 1e-5


def test_gram_deviation_sees_what_is_not_orthonormal() -> None:
    layout = LAYOUTS[2]
    weight = draw(PreInit.ORTHONORMAL, layout, generator(0, "w"))
    weight[4] *= 1.01
    assert gram_deviation(layout, weight) == pytest.approx(0.0201, rel=1e-3)


def test_groups_are_independent() -> None:
    """One matrix over all groups would give rows of different groups orthogonal to each other."""
    layout = WeightLayout((12, 2, 3, 3), Order.CONV, groups=4)
    flat = draw(PreInit.ORTHONORMAL, layout, generator(0, "w")).reshape(12, -1)
    gram = flat @ flat.T
    assert np.abs(gram[:3, 3:6]).max() > 0.01


def test_haar_distributed() -> None:
    """Of a Haar matrix every entry has mean 0 and variance 1/n; an unsigned QR fails the first."""
    rng = generator(0, "haar")
    draws = np.array([haar_matrix(rng, 3, 3, numpy_qr) for _ in range(4000)])
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=0.04)
    np.testing.assert_allclose(draws.var(axis=0), 1 / 3, atol=0.03)
    signs = np.linalg.det(draws) > 0
    assert 0.46 < signs.mean() < 0.54


@given(st.integers(0, 2**31), st.text(min_size=1, max_size=8))
@settings(max_examples=30)
def test_draws_depend_on_seed_and_name_alone(seed: int, name: str) -> None:
    layout = LAYOUTS[0]
    first = draw(PreInit.ORTHONORMAL, layout, generator(seed, name))
    again = draw(PreInit.ORTHONORMAL, layout, generator(seed, name))
    np.testing.assert_array_equal(first, again)
    for other in (generator(seed + 1, name), generator(seed, name + "2")):
        assert not np.array_equal(first, draw(PreInit.ORTHONORMAL, layout, other))


def test_a_draw_is_the_same_on_every_machine_and_day() -> None:
    """Golden numbers: what was drawn yesterday must be drawn tomorrow."""
    values = generator(0, "conv1.weight").standard_normal(3, dtype=np.float32)
    np.testing.assert_allclose(values, GOLDEN, rtol=1e-6)


GOLDEN = [-0.2283124476671219, -1.3178901672363281, -0.8635872006416321]


@pytest.mark.parametrize(
    ("kind", "std"),
    [
        (PreInit.HE, np.sqrt(2 / (40 * 9))),
        (PreInit.XAVIER, np.sqrt(2 / (40 * 9 + 60 * 9))),
        (PreInit.LECUN, np.sqrt(1 / (40 * 9))),
        (PreInit.GAUSSIAN, 0.01),
    ],
)
def test_gaussian_kinds(kind: PreInit, std: float) -> None:
    layout = WeightLayout((60, 40, 3, 3), Order.CONV)
    weight = draw(kind, layout, generator(0, "w"))
    assert weight.std() == pytest.approx(std, rel=0.02)
    assert abs(weight.mean()) < 3 * std / np.sqrt(weight.size)


def test_fans_of_a_grouped_transposed_convolution() -> None:
    layout = WeightLayout((6, 4, 3, 3), Order.CONV_TRANSPOSE, groups=3)
    assert (layout.out_channels, layout.in_channels) == (12, 2)
    assert (layout.fan_in, layout.fan_out) == (2 * 9, 4 * 9)


@pytest.mark.parametrize("order", [Order.CONV, Order.CONV_TRANSPOSE])
def test_delta_orthogonal(order: Order) -> None:
    layout = WeightLayout((8, 5, 3, 3), order, groups=2)
    weight = draw(PreInit.DELTA_ORTHOGONAL, layout, generator(0, "w"))
    assert np.count_nonzero(weight) == 8 * 5
    for group in np.split(weight[:, :, 1, 1].astype(np.float64), 2):
        np.testing.assert_allclose(group @ group.T, np.eye(4), atol=1e-6)
    dense = WeightLayout((6, 9), Order.OUT_IN)
    assert gram_deviation(dense, draw(PreInit.DELTA_ORTHOGONAL, dense, generator(0, "w"))) < 1e-6


def test_torchs_qr_draws_orthonormal_too() -> None:
    assert choose_qr(TORCH_WORTHWHILE_FLOPS / 2).qr is numpy_qr
    fast = choose_qr(TORCH_WORTHWHILE_FLOPS * 2).qr
    assert fast is not numpy_qr
    for layout in LAYOUTS:
        weight = draw(PreInit.ORTHONORMAL, layout, generator(0, "w"), fast)
        assert gram_deviation(layout, weight) < 1e-5
        np.testing.assert_allclose(
            weight, draw(PreInit.ORTHONORMAL, layout, generator(0, "w")), atol=1e-5
        )


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_rescale_reaches_each_output_channel(layout: WeightLayout) -> None:
    weight = draw(PreInit.ORTHONORMAL, layout, generator(1, "w"))
    np.testing.assert_allclose(layout.rescale(weight, np.asarray(2.5)), weight * 2.5, rtol=1e-6)
    scale = np.arange(1.0, layout.out_channels + 1)
    scaled = layout.rescale(weight, scale)
    ratio = scaled / weight
    for channel in range(layout.out_channels):
        match layout.order:
            case Order.CONV:
                part = ratio[channel]
            case Order.CONV_TRANSPOSE:
                group, inner = divmod(channel, layout.shape[1])
                part = np.split(ratio, layout.groups)[group][:, inner]
            case Order.OUT_IN:
                part = ratio[..., channel, :]
            case Order.IN_OUT:
                part = ratio[..., channel]
        np.testing.assert_allclose(part, channel + 1, rtol=1e-5)


def test_matrices_are_the_same_however_many_are_made_at_once() -> None:
    layouts = [WeightLayout((150, 40, 3, 3), Order.OUT_IN), WeightLayout((300, 170), Order.OUT_IN)]
    threads: set[int] = set()

    def drawn(index: int) -> np.ndarray:
        threads.update(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return draw(PreInit.ORTHONORMAL, layouts[index % 2], generator(index, "w"))

    made = []
    for at_once in (1, 2, 5):
        threads.clear()
        with Factorisation(numpy_qr, at_once).mapping() as map_:
            made.append(list(map_(drawn, range(12))))
        assert threads == {1}
    for other in made[1:]:
        for one, same in zip(made[0], other, strict=True):
            np.testing.assert_array_equal(one, same)
    assert choose_qr(0, threads=3).at_once == 3
    assert choose_qr(0).at_once
