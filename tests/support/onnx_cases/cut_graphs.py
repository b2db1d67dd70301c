"""Files whose sizes are computed, and graphs that are cut where constants are needed again."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from support.graphs import constant, i64, node
from support.onnx_cases.case import Array, OnnxCase, graph_model, normal

PICTURES = (8, 3, 16, 16)


def _convolution(x: str, weight: str, output: str, name: str, **more: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, weight], [output], name, **more)


def _resized(source: str, output: str, name: str) -> list[onnx.NodeProto]:
    """Return nodes that resize a value to the size of the pictures, as PyTorch exports that."""
    return [
        constant(f"{name}zero", i64(0)),
        constant(f"{name}two", i64(2)),
        constant(f"{name}four", i64(4)),
        node("Shape", "x", f"{name}s"),
        node("Slice", f"{name}s {name}two {name}four {name}zero", f"{name}hw"),
        node("Shape", source, f"{name}s2"),
        node("Slice", f"{name}s2 {name}zero {name}two {name}zero", f"{name}nc"),
        node("Concat", f"{name}nc {name}hw", f"{name}sizes", axis=0),
        helper.make_node("Resize", [source, "", "", f"{name}sizes"], [output], mode="nearest"),
    ]


WEIGHTS = {"w1": normal(4, 3, 3, 3), "w2": normal(4, 4, 1, 1), "w3": normal(4, 4, 1, 1)}


def _with_steps(count: int) -> OnnxCase:
    nodes = [_convolution("x", "w1", "p0", "c1", strides=[2, 2], pads=[1] * 4)]
    nodes += [node("Abs", f"p{index}", f"p{index + 1}") for index in range(count)]
    nodes.append(_convolution(f"p{count}", "w2", "b", "c2"))
    nodes += _resized("b", "u", "r")
    nodes.append(_convolution("u", "w3", "y", "c3"))
    model = graph_model(nodes, {"x": ["n", 3, 16, 16]}, "y", WEIGHTS, opset=17)
    return OnnxCase(model, {"x": normal(*PICTURES)}, {"c1": "p0", "c2": "b", "c3": "y"})


def resize_at_a_cut() -> OnnxCase:
    """A graph that is cut between a shape's constants and what reads them."""
    return _with_steps(246)


def resize_at_another_cut() -> OnnxCase:
    """The same, cut elsewhere."""
    return _with_steps(250)


def resizes_in_several_segments() -> OnnxCase:
    """One shape vector and one scale that several segments read, one for each layer."""
    nodes = [
        *_resized("x", "x1", "r"),
        constant("half", np.array([0.5], np.float32)),
        _convolution("x1", "w1", "a", "c1", pads=[1] * 4, strides=[2, 2]),
        node("Mul", "a half", "a2"),
        *_resized("a2", "u", "q"),
        _convolution("u", "w2", "b", "c2"),
        node("Mul", "b half", "b2"),
        node("Concat", "qnc rhw", "again", axis=0),
        helper.make_node("Resize", ["b2", "", "", "again"], ["v"], mode="nearest"),
        _convolution("v", "w3", "y", "c3"),
    ]
    model = graph_model(nodes, {"x": ["n", 3, 16, 16]}, "y", WEIGHTS, opset=17)
    layers = {"c1": "a", "c2": "b", "c3": "y"}
    cut = {"max_segment_bytes": 1, "batch_size": 3}
    return OnnxCase(model, {"x": normal(*PICTURES)}, layers, options=cut)


def computed_pads(opset: int = 18) -> OnnxCase:
    """A padding that is computed from the input's sizes in floating point."""
    nodes = [
        node("Shape", "x", "sh"),
        node("Slice", "sh two four", "hw"),
        node("Cast", "hw", "hwf", to=TensorProto.FLOAT),
        node("Mul", "hwf two_f", "pf"),
        node("Cast", "pf", "p2", to=TensorProto.INT64),
        node("Concat", "z2 p2 z2 p2", "pads", axis=0),
        node("Pad", "x pads", "xp"),
        _convolution("xp", "w", "a", "conv"),
        node("Slice", "a s0 sm1 ax", "y"),
    ]
    weights: dict[str, Array] = {
        "w": normal(4, 1, 5, 5),
        "two": i64(2),
        "four": i64(4),
        "two_f": np.array([2], np.float32),
        "z2": i64(0, 0),
        "s0": i64(0),
        "sm1": i64(-1),
        "ax": i64(2),
    }
    model = graph_model(nodes, {"x": ["n", 1, 2, 2]}, "y", weights, opset=opset)
    return OnnxCase(model, {"x": normal(8, 1, 2, 2)}, {"conv": "a"})


def computed_pads_of_opset_thirteen() -> OnnxCase:
    """The same in an older opset."""
    return computed_pads(13)


def keras_depthwise_or_not() -> OnnxCase:
    """A folded constant of tf2onnx that is no depthwise kernel."""
    return _of_tf2onnx("model_1/conv2d/Conv2D", normal(1, 8, 5, 5), 1)


def keras_depthwise() -> OnnxCase:
    """The same for one that is."""
    return _of_tf2onnx("model_1/depthwise_conv2d/depthwise", normal(8, 1, 5, 5), 8)


def keras_with_multiplier() -> OnnxCase:
    """The same with two channels for each channel of the input."""
    return _of_tf2onnx("model_1/depthwise_conv2d/depthwise", normal(16, 1, 5, 5), 8)


def _of_tf2onnx(name: str, kernel: Array, groups: int) -> OnnxCase:
    stored = "const_fold_opt__1"
    nodes = [_convolution("x", stored, "y", name, group=groups)]
    shape = [None, 8, 16, 16]
    model = graph_model(nodes, {"x": shape}, "y", {stored: kernel}, producer="tf2onnx")
    return OnnxCase(model, {"x": normal(16, 8, 16, 16)}, {name: "y"}, options={"names": "onnx"})


CASES = (
    resize_at_a_cut,
    resize_at_another_cut,
    resizes_in_several_segments,
    computed_pads,
    computed_pads_of_opset_thirteen,
    keras_depthwise_or_not,
    keras_depthwise,
    keras_with_multiplier,
)
