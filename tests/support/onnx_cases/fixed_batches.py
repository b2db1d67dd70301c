"""Files that declare a number of samples, which they are fed with, batch by batch."""

from __future__ import annotations

import numpy as np
from onnx import helper

from support.graphs import body, node
from support.onnx_cases.case import OnnxCase, graph_model, matrix_product, normal

PICTURES = (16, 8, 2, 2)


def fixed_batch_reshape() -> OnnxCase:
    """A reshape to a batch of one."""
    nodes = [node("Reshape", "x s", "f"), matrix_product("f", "w", "y", "fc")]
    model = graph_model(
        nodes, {"x": [1, 8, 2, 2]}, "y", {"s": np.array([1, 32]), "w": normal(32, 8)}
    )
    return OnnxCase(model, {"x": normal(*PICTURES)}, {"fc": "y"}, fed=1)


def fixed_batch_of_four() -> OnnxCase:
    """A reshape to a batch of four: of ten samples two are passed over, and it is said."""
    nodes = [node("Reshape", "x s", "f"), matrix_product("f", "w", "y", "fc")]
    model = graph_model(
        nodes, {"x": [4, 8, 2, 2]}, "y", {"s": np.array([4, 32]), "w": normal(32, 8)}
    )
    samples = {"x": normal(10, 8, 2, 2)}
    return OnnxCase(model, samples, {"fc": "y"}, fed=4, said=["2 of the samples are passed over"])


def fixed_batch_mixes() -> OnnxCase:
    """Positions averaged, behind a reshape that would join samples fed together."""
    nodes = [
        node("Reshape", "x s", "t"),
        matrix_product("t", "w1", "a", "l1"),
        helper.make_node("ReduceMean", ["a"], ["p"], axes=[1], keepdims=1),
        matrix_product("p", "w2", "y", "l2"),
    ]
    weights = {"w1": normal(8, 8), "w2": normal(8, 8, seed=1), "s": np.array([1, -1, 8])}
    model = graph_model(nodes, {"x": [1, 8, 2, 2]}, "y", weights, opset=13)
    return OnnxCase(model, {"x": normal(*PICTURES)}, {"l1": "a", "l2": "y"}, fed=1)


def samples_averaged() -> OnnxCase:
    """Samples that are averaged over a declared batch of four: it decides, not --batch-size."""
    nodes = [
        matrix_product("x", "w1", "a", "l1"),
        helper.make_node("ReduceMean", ["a"], ["p"], axes=[0], keepdims=1),
        node("Sub", "a p", "d"),
        matrix_product("d", "w2", "b", "l2"),
        matrix_product("p", "w3", "y", "l3"),
    ]
    weights = {f"w{i}": normal(8, 8, seed=i) for i in (1, 2, 3)}
    model = graph_model(nodes, {"x": [4, 8]}, "y", weights, opset=13)
    layers = {"l1": "a", "l2": "b", "l3": "y"}
    said = ["--batch-size 16 has no effect"]
    options = {"batch_size": 16}
    return OnnxCase(model, {"x": normal(18, 8)}, layers, fed=4, said=said, options=options)


def softmax_over_samples() -> OnnxCase:
    """A softmax along the samples of a declared batch, and two inputs that both declare it."""
    nodes = [
        node("Add", "x z", "s"),
        matrix_product("s", "w1", "a", "l1"),
        node("Softmax", "a", "p", axis=0),
        node("Sub", "a p", "d"),
        matrix_product("d", "w2", "y", "l2"),
    ]
    weights = {f"w{i}": normal(8, 8, seed=i) for i in (1, 2)}
    model = graph_model(nodes, {"x": [2, 8], "z": [2, 8]}, "y", weights, opset=13)
    samples = {"x": normal(16, 8), "z": normal(16, 8, seed=1)}
    return OnnxCase(model, samples, {"l1": "a", "l2": "y"}, fed=2)


def condition_per_sample() -> OnnxCase:
    """An If whose condition is taken for each sample, of which the file takes one at a time."""
    first, second = (
        body([matrix_product("a", f"w{i}", f"y{i}", f"fc{i}")], {}, [f"y{i}"]) for i in (1, 2)
    )
    nodes = [
        matrix_product("x", "w", "a", "fc"),
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        node("Greater", "m z", "c"),
        helper.make_node("If", ["c"], ["y"], then_branch=first, else_branch=second),
    ]
    weights = {
        "w": normal(8, 8),
        "w1": normal(8, 8, seed=1),
        "w2": normal(8, 8, seed=2),
        "z": np.array([[0]], np.float32),
    }
    model = graph_model(nodes, {"x": [1, 8]}, "y", weights)
    samples, others = {"x": normal(16, 8, loc=2)}, {"fc2": "unreachable"}
    return OnnxCase(model, samples, {"fc": "a", "fc1": "y"}, others, fed=1)


CASES = (
    condition_per_sample,
    fixed_batch_reshape,
    fixed_batch_of_four,
    fixed_batch_mixes,
    samples_averaged,
    softmax_over_samples,
)
