"""Scale rules: unit variance against numpy on the data itself, and another rule in its place."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from lsuv_cli.core import planning, scale_rule
from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.mathematics import NUMPY
from lsuv_cli.core.scale_rule import Product, ScaleRule, ScaleTarget, UnitVariance, failure_of
from support.graphs import random_weight, save_graph
from support.inference import forward
from support.initialization import run
from support.moments import moments_of
from support.sample_files import SAMPLES, save_samples

Data = NDArray[np.float64]


def solve(
    data: Data, bias: Data | None, std: float, *, per_channel: bool, centred: bool = False
) -> Data:
    moments = moments_of(data)
    product = Product(moments.mean, moments.mean_square, bias)
    target = ScaleTarget(std, per_channel, centred)
    return np.asarray(UnitVariance().scale(product, target, -1.0, NUMPY))


@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(0, 3))
@settings(max_examples=200)
def test_the_scale_gives_the_target(seed: int, target: float, bias_size: float) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(rng.normal(size=4), rng.uniform(0.1, 3, size=4), size=(50, 4))
    bias = rng.normal(size=4) * bias_size
    scale = solve(data, bias, target, per_channel=False)
    if scale > 0:
        assert (scale * data + bias).std() == pytest.approx(target, rel=1e-9)
    else:
        # Unreachable: no positive scale in a wide range comes near.
        reached = [(s * data + bias).std() for s in np.geomspace(1e-6, 1e6, 400)]
        assert scale == -1
        assert min(reached) >= target * (1 - 1e-6)
    assert (solve(data, None, target, per_channel=False) * data).std() == pytest.approx(target)
    by_channel = solve(data, bias, target, per_channel=True)
    np.testing.assert_allclose((by_channel * data + bias).std(axis=0), target, rtol=1e-9)
    centred = solve(data, None, target, per_channel=False, centred=True) * data
    assert (centred - centred.mean(axis=0)).std() == pytest.approx(target, rel=1e-9)


def test_of_two_positive_scales_the_larger_is_taken() -> None:
    data = np.array([[1.0, -1.0], [1.1, -0.9]])
    bias = np.array([-3.0, 3.0])  # falls with the first units of scale, then rises
    scale = solve(data, bias, 1.0, per_channel=False)
    assert (scale * data + bias).std() == pytest.approx(1.0)
    assert scale > 3


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
        failure = failure_of(
            UnitVariance(), moments_of(data), bias, ScaleTarget(1.0, per_channel=False)
        )
    assert (failure[0] if failure else None) is status


def test_a_dead_channel_among_living_ones_is_reported() -> None:
    data = np.random.default_rng(0).normal(size=(20, 3)) * [1, 0, 2]
    failure = failure_of(UnitVariance(), moments_of(data), None, ScaleTarget(1.0, per_channel=True))
    assert failure == (Status.ZERO_VARIANCE, "the output does not vary in 1 of 3 channels")
    scale = solve(data, None, 1.0, per_channel=True)
    assert scale[1] == -1
    np.testing.assert_allclose((scale * data).std(axis=0)[[0, 2]], 1)


@pytest.fixture
def documented_rule() -> ScaleRule:
    """The rule in the docstring of `ScaleRule`, as it stands there."""
    (example,) = doctest.DocTestFinder(recurse=False).find(ScaleRule, globs=vars(scale_rule).copy())
    assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
    rule: ScaleRule = example.globs["UnitMeanSquare"]()
    return rule


@pytest.mark.parametrize("per", Per)
@pytest.mark.parametrize("batch_size", [SAMPLES, 5], ids=["in the graph", "in numpy"])
def test_another_rule_is_one_class_and_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    documented_rule: ScaleRule,
    batch_size: int,
    per: Per,
) -> None:
    """One batch is scaled within the graph as it passes; of several, numpy finds the scales."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["z1"]),
        helper.make_node("Sigmoid", ["z1"], ["a1"]),
        helper.make_node("MatMul", ["a1", "w2"], ["z2"]),
        helper.make_node("Relu", ["z2"], ["a2"]),
        helper.make_node("MatMul", ["a2", "w3"], ["z3"]),
    ]
    weights = {"w1": random_weight(6, 8), "w2": random_weight(8, 8), "w3": random_weight(8, 4)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ["n", 6])
    samples = save_samples(tmp_path, (6,))
    monkeypatch.setattr(planning, "SCALE_RULE", documented_rule)

    report, written = run(path, samples, batch_size=batch_size, target_std=2.0, per=per)

    axes = 0 if per is Per.CHANNEL else None
    for value, result in zip(("z1", "z2", "z3"), report.layers, strict=True):
        output = forward(path, written, {"x": np.load(samples)}, value).astype(np.float64)
        np.testing.assert_allclose(np.mean(output**2, axis=axes), 4.0, rtol=1e-4, err_msg=value)
        assert result.status is Status.CONVERGED
        assert result.deviation is not None
        assert result.deviation < 1e-4
    assert np.var(output) < 3.9, "the variance would be the target too"
