"""Files whose parameters are Constant nodes, as Paddle's and spox's are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from support.graphs import constant, node
from support.onnx_cases.case import Array, OnnxCase, graph_model, matrix_product, normal

PICTURES = (16, 3, 8, 8)
STATISTICS = "g b m v"
OWN: Mapping[str, Array] = {
    "g": np.ones(4, np.float32),
    "b": np.zeros(4, np.float32),
    "m": np.full(4, 3, np.float32),
    "v": np.full(4, 9, np.float32),
}
KERNELS = {"w1": normal(4, 3, 3, 3), "w2": normal(5, 4, 3, 3)}


def _normalised(
    made: list[onnx.NodeProto], norm: str = STATISTICS, weights: Mapping[str, Array] = KERNELS
) -> onnx.ModelProto:
    """Return a convolution, a BatchNormalization whose parameters some nodes make, and another."""
    nodes = [
        *made,
        helper.make_node("Conv", ["x", "w1"], ["a"], name="c1"),
        node("BatchNormalization", f"a {norm}", "n"),
        helper.make_node("Conv", ["n", "w2"], ["y"], name="c2"),
    ]
    return graph_model(nodes, {"x": ["n", 3, 8, 8]}, "y", weights)


def constant_batch_norm() -> OnnxCase:
    """BatchNormalization whose parameters are Constant nodes: its statistics reach the file."""
    made = [constant(name, value) for name, value in OWN.items()]
    return OnnxCase(_normalised(made), {"x": normal(*PICTURES)}, {"c1": "a", "c2": "y"})


def listed_batch_norm() -> OnnxCase:
    """The same with lists of floats and through Identity nodes."""
    made = []
    for name, value in OWN.items():
        made.append(helper.make_node("Constant", [], [name], value_floats=value.tolist()))
        made.append(node("Identity", name, f"i{name}"))
    model = _normalised(made, "ig ib im iv")
    return OnnxCase(model, {"x": normal(*PICTURES)}, {"c1": "a", "c2": "y"})


def half_batch_norm() -> OnnxCase:
    """The same in float16 through Cast nodes: the file holds them in float16."""
    made = []
    for name, value in OWN.items():
        made.append(constant(name, value.astype(np.float16)))
        made.append(node("Cast", name, f"i{name}", to=TensorProto.FLOAT))
    model = _normalised(made, "ig ib im iv")
    return OnnxCase(model, {"x": normal(*PICTURES)}, {"c1": "a", "c2": "y"})


def shared_statistics() -> OnnxCase:
    """One constant for a mean and a shift: no place of its own, so the statistics are kept."""
    made = [constant(name, value) for name, value in OWN.items() if name != "m"]
    return OnnxCase(
        _normalised(made, "g b b v"),
        {"x": normal(*PICTURES)},
        {"c1": "a", "c2": "y"},
        said=["BatchNormalization_n"],
    )


def only_constants() -> OnnxCase:
    """Every weight a Constant node: a file of spox."""
    nodes = [constant("w", normal(8, 8)), matrix_product("x", "w", "y", "fc")]
    model = graph_model(nodes, {"x": ["n", 8]}, "y")
    return OnnxCase(model, {"x": normal(16, 8)}, {"fc": "y"})


def only_constants_of_paddle() -> OnnxCase:
    """The same with a convolution, a BatchNormalization and a bias behind it."""
    made = [constant(name, value) for name, value in {**OWN, **KERNELS}.items()]
    return OnnxCase(_normalised(made, weights={}), {"x": normal(*PICTURES)}, {"c1": "a", "c2": "y"})


def turned_constant() -> OnnxCase:
    """The same with one weight that two products share, turned for the second."""
    nodes = [
        constant("w", normal(8, 8)),
        matrix_product("x", "w", "h", "first"),
        node("Relu", "h", "r"),
        node("Transpose", "w", "turned", perm=[1, 0]),
        matrix_product("r", "turned", "y", "second"),
    ]
    model = graph_model(nodes, {"x": ["n", 8]}, "y")
    return OnnxCase(model, {"x": normal(16, 8)}, {"first": "h"}, {"second": "shared"})


CASES = (
    constant_batch_norm,
    listed_batch_norm,
    half_batch_norm,
    shared_statistics,
    only_constants,
    only_constants_of_paddle,
    turned_constant,
)
