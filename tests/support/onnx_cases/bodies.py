"""Files with layers inside If, Loop and Scan, whose weights come from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from support.graphs import body, constant, node
from support.onnx_cases.case import OnnxCase, graph_model, matrix_product, normal

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
SAMPLES = {"x": normal(16, 8)}
COUNT = np.int64(3)
Inputs = Mapping[str, tuple[int, list[int] | None]]


def _loop(
    nodes: Sequence[onnx.NodeProto],
    states: Inputs,
    made: Sequence[str],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> onnx.NodeProto:
    """Return a Loop, whose body reads the iteration's number `i` and a condition `go` as well."""
    graph = body(
        [*nodes, node("Identity", "go", "on")],
        {"i": (INT, []), "go": (BOOL, []), **states},
        ["on", *made],
    )
    return helper.make_node("Loop", inputs, outputs, name="loop", body=graph)


def loop_carries_weight() -> OnnxCase:
    """A weight that a layer outside reads, and that a Loop carries: one weight, and said so."""
    inner = [matrix_product("h", "wi", "ho", "inner"), node("Identity", "wi", "wo")]
    nodes = [
        constant("n", COUNT),
        matrix_product("x", "w", "a", "outer"),
        _loop(
            inner,
            {"h": (FLOAT, None), "wi": (FLOAT, [8, 8])},
            ["ho", "wo"],
            inputs=["n", "", "a", "w"],
            outputs=["y", "w_end"],
        ),
        matrix_product("y", "w_end", "z", "last"),
    ]
    model = graph_model(nodes, {"x": ["n", 8]}, "z", {"w": normal(8, 8)})
    shared = dict.fromkeys(["inner.0", "inner.1", "inner.2", "last"], "shared")
    return OnnxCase(model, SAMPLES, {"outer": "a"}, shared, unsaid=["left as they are"])


def scanned_weights() -> OnnxCase:
    """A Scan over a stack of matrices: each is a layer's."""
    inner = [
        matrix_product("h", "wi", "p", "inner"),
        node("Tanh", "p", "ho"),
        node("Identity", "p", "each"),
    ]
    graph = body(inner, {"h": (FLOAT, None), "wi": (FLOAT, [8, 8])}, ["ho", "each"])
    scan = helper.make_node(
        "Scan", ["x", "w"], ["y", "all"], name="scan", body=graph, num_scan_inputs=1
    )
    return _exposing(scan, {"w": normal(3, 8, 8)})


def weights_by_iteration() -> OnnxCase:
    """A Loop that takes another matrix of a stack each time, by the iteration's number."""
    inner = [
        node("Gather", "w i", "wi", axis=0),
        matrix_product("h", "wi", "p", "inner"),
        node("Tanh", "p", "ho"),
        node("Identity", "p", "each"),
    ]
    loop = _loop(
        inner,
        {"h": (FLOAT, None)},
        ["ho", "each"],
        inputs=["n", "", "x"],
        outputs=["y", "all"],
    )
    return _exposing(loop, {"w": normal(3, 8, 8)})


def _exposing(control: onnx.NodeProto, weights: Mapping[str, np.ndarray]) -> OnnxCase:
    """Return a case of three layers in a body, whose outputs are stacked in `all`."""
    nodes = [constant("n", COUNT), control]
    for index in range(3):
        nodes.append(constant(f"p{index}", np.int64(index)))
        nodes.append(node("Gather", f"all p{index}", f"e{index}", axis=0))
    model = graph_model(nodes, {"x": ["n", 8]}, "y", weights)
    layers = {f"inner.{index}": f"e{index}" for index in range(3)}
    return OnnxCase(model, SAMPLES, layers, unsaid=["left as they are"])


def long_loop_shares_weight() -> OnnxCase:
    """A Loop too long to unroll, which reads another layer's weight: that is said."""
    inner = [matrix_product("h", "w", "p", "inner"), node("Tanh", "p", "ho")]
    nodes = [
        constant("n", np.int64(3000)),
        matrix_product("x", "w", "a", "outer"),
        _loop(inner, {"h": (FLOAT, None)}, ["ho"], inputs=["n", "", "a"], outputs=["y"]),
    ]
    model = graph_model(nodes, {"x": ["n", 8]}, "y", {"w": normal(8, 8)})
    left = "but it reads w, the weight of outer as well, and changes with it"
    return OnnxCase(model, SAMPLES, {"outer": "a"}, left_alone=[left])


def long_loop_carries_turned_weight() -> OnnxCase:
    """The same with the weight transposed outside and carried."""
    inner = [
        matrix_product("h", "wi", "p", "inner"),
        node("Tanh", "p", "ho"),
        node("Identity", "wi", "wo"),
    ]
    nodes = [
        constant("n", np.int64(3000)),
        matrix_product("x", "w", "a", "outer"),
        node("Transpose", "w", "t", perm=[1, 0]),
        _loop(
            inner,
            {"h": (FLOAT, None), "wi": (FLOAT, [8, 8])},
            ["ho", "wo"],
            inputs=["n", "", "a", "t"],
            outputs=["y", "w_end"],
        ),
    ]
    model = graph_model(nodes, {"x": ["n", 8]}, "y", {"w": normal(8, 8)})
    left = "but it reads w, the weight of outer as well, and changes with it"
    return OnnxCase(model, SAMPLES, {"outer": "a"}, left_alone=[left])


def _branches(condition: Sequence[onnx.NodeProto], source: str) -> list[onnx.NodeProto]:
    """Return an If with a layer in each branch."""
    one, other = (
        body([matrix_product(source, f"w{k}", f"y{k}", f"fc{k}")], {}, [f"y{k}"]) for k in "12"
    )
    branch = helper.make_node("If", ["c"], ["y"], name="if", then_branch=one, else_branch=other)
    return [*condition, branch]


def _mean_is_greater() -> list[onnx.NodeProto]:
    return [
        node("ReduceMean", "x", "mean", keepdims=0),
        constant("limit", np.float32(-9)),
        node("Greater", "mean limit", "c"),
    ]


BRANCH_WEIGHTS = {"w1": normal(8, 8), "w2": normal(8, 8) * 2}


def all_inside_if() -> OnnxCase:
    """No layer but in the branches of an If."""
    model = graph_model(_branches(_mean_is_greater(), "x"), {"x": ["n", 8]}, "y", BRANCH_WEIGHTS)
    return OnnxCase(model, SAMPLES, {"fc1": "y"}, {"fc2": "unreachable"})


def some_inside_if() -> OnnxCase:
    """A layer in each branch of an If, and one ahead of it."""
    nodes = [matrix_product("x", "w", "a", "fc"), *_branches(_mean_is_greater(), "a")]
    model = graph_model(nodes, {"x": ["n", 8]}, "y", {"w": normal(8, 8), **BRANCH_WEIGHTS})
    return OnnxCase(
        model, SAMPLES, {"fc": "a", "fc1": "y"}, {"fc2": "unreachable"}, unsaid=["left as they are"]
    )


def constant_condition() -> OnnxCase:
    """An If whose condition is a constant, as exporters leave them: the file itself tells."""
    nodes = _branches([constant("c", np.array(False))], "x")
    model = graph_model(nodes, {"x": ["n", 8]}, "y", BRANCH_WEIGHTS)
    return OnnxCase(model, SAMPLES, {"fc2": "y"}, {"fc1": "unreachable"})


CASES = (
    loop_carries_weight,
    scanned_weights,
    weights_by_iteration,
    long_loop_shares_weight,
    long_loop_carries_turned_weight,
    all_inside_if,
    some_inside_if,
    constant_condition,
)
