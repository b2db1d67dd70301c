"""Files with inputs that are the same for all samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from support.graphs import node
from support.onnx_cases.case import OnnxCase, graph_model, matrix_product, normal


def scalar_input() -> OnnxCase:
    """A gain, a single number, from the .npz."""
    nodes = [
        node("Mul", "x gain", "g"),
        node("Tanh", "g", "t"),
        matrix_product("t", "w", "y", "fc"),
    ]
    model = graph_model(nodes, {"x": ["n", 8], "gain": []}, "y", {"w": normal(8, 8)})
    samples = {"x": normal(16, 8), "gain": np.array(2, np.float32)}
    options = {"batch_size": 5}
    return OnnxCase(model, samples, {"fc": "y"}, axes={"gain": None}, options=options)


def scalar_given() -> OnnxCase:
    """The same by the option."""
    case = scalar_input()
    return replace(
        case,
        samples={"x": case.samples["x"]},
        given={"gain": np.array(2, np.float32)},
        options={"feeds": {"gain": 2}},
    )


def integer_given() -> OnnxCase:
    """A number of samples a second, an integer in a vector of one, beside a fixed batch."""
    nodes = [
        node("Cast", "rate", "r", to=TensorProto.FLOAT),
        node("Div", "x r", "d"),
        matrix_product("d", "w1", "a", "l1"),
        node("ReduceMax", "a", "m", axes=[0], keepdims=1),
        node("Sub", "a m", "c"),
        matrix_product("c", "w2", "y", "l2"),
    ]
    weights = {"w1": normal(8, 8), "w2": normal(8, 8, seed=1)}
    types = {"rate": TensorProto.INT64}
    model = graph_model(nodes, {"x": [4, 8], "rate": [1]}, "y", weights, types=types)
    options = {"feeds": {"rate": 16}, "batch_axes": {"rate": None}}
    return OnnxCase(
        model,
        {"x": normal(16, 8)},
        {"l1": "a", "l2": "y"},
        given={"rate": np.array([16])},
        fed=4,
        options=options,
    )


def truth_given() -> OnnxCase:
    """A switch that is true."""
    nodes = [
        node("Neg", "x", "n"),
        node("Exp", "x", "e"),
        node("Where", "on e n", "s"),
        matrix_product("s", "w", "y", "fc"),
    ]
    types = {"on": TensorProto.BOOL}
    model = graph_model(nodes, {"x": ["n", 8], "on": []}, "y", {"w": normal(8, 8)}, types=types)
    options = {"feeds": {"on": True}}
    given = {"on": np.array(True)}
    return OnnxCase(model, {"x": normal(16, 8)}, {"fc": "y"}, given=given, options=options)


def table_input() -> OnnxCase:
    """A table that the file declares without a batch, from the .npz."""
    nodes = [
        node("MatMul", "x table", "t"),
        node("Relu", "t", "r"),
        matrix_product("r", "w", "y", "fc"),
    ]
    model = graph_model(nodes, {"x": ["n", 8], "table": [8, 5]}, "y", {"w": normal(5, 8)})
    samples = {"x": normal(16, 8), "table": normal(8, 5, seed=2)}
    return OnnxCase(model, samples, {"fc": "y"}, axes={"table": None})


def row_given() -> OnnxCase:
    """A mask of each sample, all of them alike: the option's list is one row of it."""
    nodes = [node("Mul", "x mask", "m"), matrix_product("m", "w", "y", "fc")]
    model = graph_model(nodes, {"x": ["n", 8], "mask": ["n", 8]}, "y", {"w": normal(8, 8)})
    row = [1, 1, 1, 1, 1, 0, 0, 2]
    given = {"mask": np.tile(np.array(row, np.float32), (16, 1))}
    options = {"feeds": {"mask": row}, "batch_size": 6}
    return OnnxCase(model, {"x": normal(16, 8)}, {"fc": "y"}, given=given, options=options)


def optional_input() -> OnnxCase:
    """An input with a default value in the file, which need not be fed."""
    nodes = [node("Mul", "x gain", "m"), matrix_product("m", "w", "y", "fc")]
    weights = {"w": normal(8, 8), "gain": np.array(3, np.float32)}
    model = graph_model(nodes, {"x": ["n", 8], "gain": []}, "y", weights)
    return OnnxCase(model, {"x": normal(16, 8)}, {"fc": "y"})


CASES = (
    scalar_input,
    scalar_given,
    integer_given,
    truth_given,
    table_input,
    row_given,
    optional_input,
)
