"""Files whose samples do not lie along the first axis of every input."""

from __future__ import annotations

import numpy as np
from onnx import helper

from support.graphs import node
from support.onnx_cases.case import OnnxCase, graph_model, matrix_product, normal

AXES = np.array([0])


def batch_on_axis_one() -> OnnxCase:
    """A state (1, batch, 8) beside an input (batch, 8)."""
    nodes = [
        node("ReduceSum", "h ax", "hs", keepdims=0),
        node("Add", "x hs", "s"),
        matrix_product("s", "w", "y", "fc"),
    ]
    weights = {"w": normal(8, 8), "ax": AXES}
    model = graph_model(nodes, {"x": ["batch", 8], "h": [1, "batch", 8]}, "y", weights)
    samples = {"x": normal(12, 8), "h": normal(1, 12, 8)}
    return OnnxCase(model, samples, {"fc": "y"}, axes={"h": 1}, options={"batch_size": 5})


def batch_of_another_name() -> OnnxCase:
    """The same with the name that the first input gives its samples."""
    case = batch_on_axis_one()
    for value, axis in zip(case.model.graph.input, (0, 1), strict=True):
        value.type.tensor_type.shape.dim[axis].dim_param = "s0"
    return case


def time_first() -> OnnxCase:
    """A sequence (time, batch, features), several batches of it."""
    nodes = [
        matrix_product("x", "w1", "a", "l1"),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[0], keepdims=0),
        matrix_product("m", "w2", "y", "l2"),
    ]
    weights = {"w1": normal(8, 8), "w2": normal(8, 8, seed=1)}
    model = graph_model(nodes, {"x": ["time", "batch_size", 8]}, "y", weights)
    layers, options = {"l1": "a", "l2": "y"}, {"batch_size": 4}
    return OnnxCase(model, {"x": normal(5, 10, 8)}, layers, axes={"x": 1}, options=options)


def axis_by_option() -> OnnxCase:
    """The same without a telling name: the option says where the samples lie."""
    case = time_first()
    sizes = case.model.graph.input[0].type.tensor_type.shape.dim
    sizes[0].dim_param, sizes[1].dim_param = "p", "q"
    options = {"batch_size": 4, "batch_axes": {"x": -2}}
    return OnnxCase(case.model, case.samples, case.layers, axes={"x": 1}, options=options)


def fixed_batch_on_axis_one() -> OnnxCase:
    """A state of two layers for a declared batch of two, which the option finds."""
    nodes = [
        node("ReduceSum", "h ax", "hs", keepdims=0),
        node("Add", "x hs", "s"),
        matrix_product("s", "w1", "a", "l1"),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[0], keepdims=1),
        node("Sub", "a m", "d"),
        matrix_product("d", "w2", "y", "l2"),
    ]
    inputs = {"x": [2, 8], "h": [3, 2, 8]}
    weights = {"w1": normal(8, 8), "w2": normal(8, 8, seed=1), "ax": AXES}
    model = graph_model(nodes, inputs, "y", weights)
    samples = {"x": normal(12, 8), "h": normal(3, 12, 8)}
    layers, options = {"l1": "a", "l2": "y"}, {"batch_axes": {"h": 1}}
    return OnnxCase(model, samples, layers, fed=2, axes={"h": 1}, options=options)


CASES = (
    batch_on_axis_one,
    batch_of_another_name,
    time_first,
    axis_by_option,
    fixed_batch_on_axis_one,
)
