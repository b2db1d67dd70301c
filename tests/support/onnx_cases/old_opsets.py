"""Files of opsets that ONNX Runtime has not all operators of."""

from __future__ import annotations

from onnx import helper

from support.graphs import node
from support.onnx_cases.case import OnnxCase, graph_model, matrix_product, normal

PICTURES = {"x": normal(16, 3, 8, 8)}


def opset_six() -> OnnxCase:
    """ONNX Runtime can run it, but not the nodes that measure it."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="c")]
    model = graph_model(nodes, {"x": ["n", 3, 8, 8]}, "y", {"w": normal(4, 3, 3, 3)}, opset=6)
    return OnnxCase(model, PICTURES, {"c": "y"})


def opset_four() -> OnnxCase:
    """A Reshape by an attribute."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="c"),
        node("MaxPool", "a", "p", kernel_shape=[2, 2]),
        node("Reshape", "p", "r", shape=[0, -1]),
        matrix_product("r", "v", "y", "fc"),
    ]
    weights = {"w": normal(4, 3, 3, 3), "v": normal(100, 5)}
    model = graph_model(nodes, {"x": ["n", 3, 8, 8]}, "y", weights, opset=4)
    return OnnxCase(model, PICTURES, {"c": "a", "fc": "y"})


CASES = (opset_six, opset_four)
