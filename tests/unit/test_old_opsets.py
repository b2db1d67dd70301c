"""Conversion of old opsets, whose operators broadcast only where an attribute says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from lsuv_cli.core.errors import ModelError
from lsuv_cli.reading.old_opsets import with_runnable_opset
from support.onnx_cases.case import graph_model, matrix_product, normal
from support.onnx_variances import with_tensors

PATH = Path("m.onnx")


def outputs(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


def test_a_sum_along_an_axis_keeps_its_meaning() -> None:
    """ONNX Runtime can't run the original; ONNX's own implementation, which is checked by numpy."""
    nodes = [
        matrix_product("x", "w", "a", "fc"),
        helper.make_node("Add", ["a", "b"], ["y"], name="bias", broadcast=1, axis=1),
    ]
    weights = {"w": normal(8, 6), "b": normal(6)}
    model = graph_model(nodes, {"x": [None, 8]}, "y", weights, opset=6)
    converted = with_runnable_opset(model, PATH)
    assert [one.version for one in converted.opset_import] == [7]
    assert [one.name for one in converted.graph.initializer] == ["w", "b"]
    assert [one.name for one in converted.graph.node] == ["fc", "bias"]
    x = normal(5, 8)
    np.testing.assert_allclose(outputs(converted, x), x @ weights["w"] + weights["b"], rtol=1e-4)
    changed = {"b": np.ones(6, np.float32)}
    found = outputs(with_tensors(converted, changed), x)
    np.testing.assert_allclose(found, x @ weights["w"] + 1, rtol=1e-4, atol=1e-5)


def test_what_is_newer_stays_as_it_is() -> None:
    model = graph_model([matrix_product("x", "w", "y", "fc")], {"x": [1, 8]}, "y", opset=7)
    assert with_runnable_opset(model, PATH) is model


def test_what_would_compute_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [matrix_product("x", "w", "y", "fc")]
    model = graph_model(nodes, {"x": ["n", 8]}, "y", {"w": normal(8, 6)}, opset=6)

    def negated(_: onnx.ModelProto, version: int) -> onnx.ModelProto:
        wrong = [matrix_product("x", "w", "a", "fc"), helper.make_node("Neg", ["a"], ["y"])]
        return graph_model(wrong, {"x": ["n", 8]}, "y", {"w": normal(8, 6)}, opset=version)

    monkeypatch.setattr("lsuv_cli.reading.old_opsets.convert_opset", negated)
    with pytest.raises(
        ModelError, match=r"opset 7 and later can be run.*does not compute the same"
    ):
        with_runnable_opset(model, PATH)


def test_what_can_not_be_converted_is_refused() -> None:
    nodes = [
        matrix_product("x", "w", "a", "fc"),
        helper.make_node("Upsample", ["a"], ["y"], width_scale=2.0, height_scale=2.0),
    ]
    model = graph_model(nodes, {"x": ["n", 8]}, "y", {"w": normal(8, 6)}, opset=6)
    with pytest.raises(ModelError, match="has opset 6; models of opset 7 and later can be run"):
        with_runnable_opset(model, PATH)
