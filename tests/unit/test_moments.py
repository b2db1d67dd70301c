"""Moments and the closed forms, against numpy on the data itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from lsuv_cli.core.choices import Status
from lsuv_cli.core.moments import NUMPY, closed_form_factor, failure_of
from support.moments import moments_of

Data = NDArray[np.float64]


finite = st.floats(-100, 100, allow_nan=False)
datasets = hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(1, 5)), elements=finite)


@given(datasets, st.data())
def test_merge_equals_the_moments_of_both_together(first: Data, data: st.DataObject) -> None:
    shape = st.tuples(st.integers(1, 20), st.just(first.shape[1]))
    second = data.draw(hnp.arrays(np.float64, shape, elements=finite))
    merged = moments_of(first).merge(moments_of(second))
    expected = moments_of(np.concatenate([first, second]))
    assert merged.count == expected.count
    np.testing.assert_allclose(merged.mean, expected.mean, atol=1e-9)
    np.testing.assert_allclose(merged.mean_square, expected.mean_square, atol=1e-9)


@given(datasets)
def test_variances_equal_numpys(data: Data) -> None:
    moments = moments_of(data)
    np.testing.assert_allclose(moments.variance, data.var(axis=0), atol=1e-8)
    assert moments.blob_variance == pytest.approx(data.var(), abs=1e-8)
    assert moments.blob_mean == pytest.approx(data.mean(), abs=1e-9)


@given(datasets, st.floats(0.01, 100))
def test_scaling_data_scales_moments(data: Data, factor: float) -> None:
    scaled = moments_of(data).scaled(np.asarray(factor))
    expected = moments_of(data * factor)
    np.testing.assert_allclose(scaled.mean, expected.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scaled.mean_square, expected.mean_square, rtol=1e-9, atol=1e-9)


def solve(data: Data, bias: Data | None, target: float, **kind: bool) -> Data:
    moments = moments_of(data)
    return np.asarray(
        closed_form_factor(moments.mean, moments.mean_square, bias, target, -1.0, NUMPY, **kind)
    )


@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(0, 3))
@settings(max_examples=200)
def test_the_factor_gives_the_target(seed: int, target: float, bias_size: float) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(rng.normal(size=4), rng.uniform(0.1, 3, size=4), size=(50, 4))
    bias = rng.normal(size=4) * bias_size
    factor = solve(data, bias, target, per_channel=False)
    if factor > 0:
        assert (factor * data + bias).std() == pytest.approx(target, rel=1e-9)
    else:
        # Unreachable: no positive factor in a wide range comes near.
        reached = [(s * data + bias).std() for s in np.geomspace(1e-6, 1e6, 400)]
        assert factor == -1
        assert min(reached) >= target * (1 - 1e-6)
    assert (solve(data, None, target, per_channel=False) * data).std() == pytest.approx(target)
    by_channel = solve(data, bias, target, per_channel=True)
    np.testing.assert_allclose((by_channel * data + bias).std(axis=0), target, rtol=1e-9)
    centred = solve(data, None, target, per_channel=False, centred=True) * data
    assert (centred - centred.mean(axis=0)).std() == pytest.approx(target, rel=1e-9)


def test_of_two_positive_factors_the_larger_is_taken() -> None:
    data = np.array([[1.0, -1.0], [1.1, -0.9]])
    bias = np.array([-3.0, 3.0])  # falls with the first units of scale, then rises
    factor = solve(data, bias, 1.0, per_channel=False)
    assert (factor * data + bias).std() == pytest.approx(1.0)
    assert factor > 3


@pytest.mark.parametrize(
    ("data", "bias", "status"),
    [
        (np.zeros((5, 3)), None, Status.ZERO_VARIANCE),
        (np.full((5, 3), 0.1), None, Status.ZERO_VARIANCE),
        (np.array([[np.nan, 1.0], [2.0, 3.0]]), None, Status.NON_FINITE),
        (np.array([[np.inf, 1.0], [2.0, 3.0]]), None, Status.NON_FINITE),
        (np.array([[1.0, 2.0], [3.0, 1.0]]), np.array([5.0, -5.0]), Status.UNREACHABLE),
        (np.array([[1.0, 2.0], [3.0, 1.0]]), None, None),
    ],
)
def test_failures(data: Data, bias: Data | None, status: Status | None) -> None:
    with np.errstate(invalid="ignore"):
        failure = failure_of(moments_of(data), bias, 1.0, per_channel=False)
    assert (failure[0] if failure else None) is status


def test_a_dead_channel_among_living_ones_is_reported() -> None:
    data = np.random.default_rng(0).normal(size=(20, 3)) * [1, 0, 2]
    failure = failure_of(moments_of(data), None, 1.0, per_channel=True)
    assert failure == (Status.ZERO_VARIANCE, "the output does not vary in 1 of 3 channels")
    factor = solve(data, None, 1.0, per_channel=True)
    assert factor[1] == -1
    np.testing.assert_allclose((factor * data).std(axis=0)[[0, 2]], 1)


def test_condition_tells_cancellation() -> None:
    data = np.random.default_rng(0).normal(100, 1, size=(2000, 1))
    assert moments_of(data).condition(per_channel=False) == pytest.approx(1e4, rel=0.1)
    apart = np.hstack([data - 100, data + 100])
    assert moments_of(apart).condition(per_channel=False) == pytest.approx(2, rel=0.1)
    assert moments_of(apart).condition(per_channel=False, centred=True) > 1e4
    assert moments_of(np.zeros((3, 2))).condition(per_channel=True) == np.inf
    with np.errstate(invalid="ignore"):
        assert np.isnan(moments_of(np.array([[np.nan]])).condition(per_channel=False))
