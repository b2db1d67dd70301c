"""Files in which layers share a weight, or seem to: under the file's names they do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from support.graphs import node
from support.onnx_cases.case import OnnxCase, graph_model, matrix_product, normal

LITE = "const_fold_opt__664"
PICTURES = {"x": normal(16, 8, 6, 6)}


def _lite(bias: Sequence[str] = ()) -> onnx.ModelProto:
    """Return two convolutions of one kernel, as tf2onnx names them that reads TensorFlow Lite."""
    a, b = (
        "model_1/cq_1/conv1d_2;model_1/cq_1/conv1d",
        "model_1/cq_1/conv1d_1;model_1/cq_1/conv1d_1",
    )
    nodes = [
        helper.make_node("Conv", ["x", LITE, *bias], [a], name="one"),
        helper.make_node("Conv", [a, LITE, *bias], [b], name="two"),
    ]
    for made, name in zip(nodes, (a, b), strict=True):
        made.name = name
    weights = {LITE: normal(8, 8, 3, 3), **{name: np.zeros(8, np.float32) for name in bias}}
    return graph_model(nodes, {"x": ["n", 8, 6, 6]}, b, weights, producer="tf2onnx")


def _case_of_lite(model: onnx.ModelProto, **options: str) -> OnnxCase:
    first, second = model.graph.node
    layers = {first.name: first.output[0]}
    return OnnxCase(model, PICTURES, layers, {second.name: "shared"}, options=options)


def lite_names() -> OnnxCase:
    """Keras' paths are ambiguous: the file's names, under which the two are tied."""
    return _case_of_lite(_lite())


def lite_names_of_the_file() -> OnnxCase:
    """The same where the file's names are asked for."""
    return _case_of_lite(_lite(), names="onnx")


def lite_biases() -> OnnxCase:
    """The same with a bias that both read."""
    return _case_of_lite(_lite(["model_1/cq_1/BiasAdd/ReadVariableOp"]), names="onnx")


def _identities() -> onnx.ModelProto:
    """Return a file of PyTorch's script exporter, which stores equal parameters once."""
    nodes = [
        node("Identity", "a.weight", "b.weight"),
        matrix_product("x", "a.weight", "h", "/a/MatMul"),
        node("Relu", "h", "r"),
        matrix_product("r", "b.weight", "y", "/b/MatMul"),
    ]
    weights = {"a.weight": normal(8, 8)}
    return graph_model(nodes, {"x": ["n", 8]}, "y", weights, producer="pytorch")


def stored_once() -> OnnxCase:
    """Under the file's names there is one weight."""
    layers, others = {"/a/MatMul": "h"}, {"/b/MatMul": "shared"}
    return OnnxCase(_identities(), {"x": normal(16, 8)}, layers, others, options={"names": "onnx"})


def zero_state() -> OnnxCase:
    """The first use of a weight gets zeros: the second one decides."""
    nodes = [
        matrix_product("x", "u", "a", "in1"),
        node("Mul", "x zero", "s0"),
        matrix_product("s0", "w", "p", "step0"),
        node("Add", "a p", "q"),
        node("Tanh", "q", "s1"),
        matrix_product("s1", "w", "y", "step1"),
    ]
    weights = {"u": normal(8, 8), "w": normal(8, 8) * 2, "zero": np.zeros(1, np.float32)}
    model = graph_model(nodes, {"x": ["n", 8]}, "y", weights)
    layers = {"in1": "a", "step1": "y"}
    return OnnxCase(model, {"x": normal(32, 8)}, layers, {"step0": "shared"})


def constant_state() -> OnnxCase:
    """The same with a first state that is the same for all samples."""
    nodes = [
        node("Mul", "x zero", "z0"),
        node("Add", "z0 one", "s0"),
        matrix_product("s0", "w", "p", "step0"),
        node("Add", "x p", "q"),
        matrix_product("q", "w", "y", "step1"),
    ]
    weights = {
        "w": normal(8, 8) * 2,
        "zero": np.zeros(1, np.float32),
        "one": np.ones(8, np.float32),
    }
    model = graph_model(nodes, {"x": ["n", 8]}, "y", weights)
    return OnnxCase(model, {"x": normal(32, 8)}, {"step0": "p"}, {"step1": "shared"})


def only_zero_state() -> OnnxCase:
    """Zeros at the only use of a weight: no use decides, in `verify` as in `init`."""
    nodes = [
        matrix_product("x", "u", "a", "in1"),
        node("Mul", "x zero", "s0"),
        matrix_product("s0", "w", "p", "dead"),
        node("Add", "a p", "y"),
    ]
    weights = {"u": normal(8, 8), "w": normal(8, 8), "zero": np.zeros(1, np.float32)}
    model = graph_model(nodes, {"x": ["n", 8]}, "y", weights)
    return OnnxCase(model, {"x": normal(32, 8)}, {"in1": "a"}, {"dead": "zero_variance"})


def in_no_table() -> OnnxCase:
    """Products by a vector, by a product of constants, and by a filled matrix."""
    nodes = [
        matrix_product("x", "w", "a", "fc"),
        node("Mul", "w1 w2", "w12"),
        matrix_product("a", "w12", "b", "made"),
        helper.make_node(
            "ConstantOfShape",
            ["shape"],
            ["ones"],
            value=helper.make_tensor("v", onnx.TensorProto.FLOAT, [1], [0.1]),
        ),
        matrix_product("b", "ones", "c", "filled"),
        matrix_product("c", "v", "y", "vector"),
    ]
    weights = {"w": normal(8, 8), "w1": normal(8, 8), "w2": normal(8, 8, seed=1), "v": normal(8)}
    model = graph_model(nodes, {"x": ["n", 8]}, "y", {**weights, "shape": np.array([8, 8])})
    return OnnxCase(
        model,
        {"x": normal(64, 8)},
        {"fc": "a", "made": "b"},
        left_alone=["filled (MatMul): it multiplies by a constant", "vector (MatMul): its weight"],
    )


CASES = (
    lite_names,
    lite_names_of_the_file,
    lite_biases,
    stored_once,
    zero_state,
    constant_state,
    only_zero_state,
    in_no_table,
)
