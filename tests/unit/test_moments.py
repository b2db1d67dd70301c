"""Moments, against numpy on the data itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

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
def test_scaling_data_scales_moments(data: Data, scale: float) -> None:
    scaled = moments_of(data).scaled(np.asarray(scale))
    expected = moments_of(data * scale)
    np.testing.assert_allclose(scaled.mean, expected.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scaled.mean_square, expected.mean_square, rtol=1e-9, atol=1e-9)


def test_condition_tells_cancellation() -> None:
    data = np.random.default_rng(0).normal(100, 1, size=(2000, 1))
    assert moments_of(data).condition(per_channel=False) == pytest.approx(1e4, rel=0.1)
    apart = np.hstack([data - 100, data + 100])
    assert moments_of(apart).condition(per_channel=False) == pytest.approx(2, rel=0.1)
    assert moments_of(apart).condition(per_channel=False, centred=True) > 1e4
    assert moments_of(np.zeros((3, 2))).condition(per_channel=True) == np.inf
    with np.errstate(invalid="ignore"):
        assert np.isnan(moments_of(np.array([[np.nan]])).condition(per_channel=False))
