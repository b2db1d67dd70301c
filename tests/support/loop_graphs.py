"""Graphs with layers inside Loop, Scan and If."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from support.graphs import body, constant, node, random_weight

W = random_weight
WIDTH = 6
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
LOOP_INPUTS: dict[str, tuple[int, list[int] | None]] = {
    "i": (INT, []),
    "go": (BOOL, []),
    "s": (FLOAT, None),
}


def loop_while_small() -> list[onnx.NodeProto]:
    """A loop that ends by its condition, with weights of its own in every form, and an If inside.

    s is doubled each time, until its largest element is 50.
    """
    inner = body([constant("u", W(WIDTH, WIDTH, seed=3)), node("MatMul", "s1 u", "n0")], {}, ["n0"])
    other = body([node("Identity", "s1", "n1")], {}, ["n1"])
    nodes = [
        node("MatMul", "s w", "s0"),
        node("Tanh", "s0", "s1"),
        node("Less", "i two", "early"),
        helper.make_node("If", ["early"], ["s2"], then_branch=inner, else_branch=other),
        node("Add", "s s", "t"),
        node("ReduceMax", "t", "m", keepdims=0),
        node("Less", "m fifty", "more"),
        node("Add", "i two", "j"),
    ]
    graph = body(
        [constant("two", np.int64(2)), constant("fifty", np.float32(50)), *nodes],
        LOOP_INPUTS,
        ["more", "t", "s2", "j"],
        {"w": W(WIDTH, WIDTH)},
    )
    loop = helper.make_node("Loop", ["", "yes", "x"], ["last", "all", "ids"], body=graph)
    return [
        constant("yes", np.array(True)),
        loop,
        node("ReduceMean", "all", "mean", axes=[0], keepdims=0),
        node("MatMul", "mean v", "z0"),
        node("Cast", "ids", "f", to=FLOAT),
        node("ReduceSum", "f", "g", keepdims=0),
        node("Add", "z0 g", "z"),
    ]


def scans(direction: int, axis: int) -> list[onnx.NodeProto]:
    """A Scan over the steps of a recurrent layer, whose outputs are stacked along an axis."""
    graph = body(
        [
            node("MatMul", "e w", "p"),
            node("Add", "p s", "q"),
            node("Tanh", "q", "t"),
            node("MatMul", "t u", "y"),
        ],
        {"s": (FLOAT, None), "e": (FLOAT, None)},
        ["t", "y"],
        {"w": W(WIDTH, WIDTH), "u": W(WIDTH, 4)},
    )
    scan = helper.make_node(
        "Scan",
        ["zero", "x"],
        ["last", "ys"],
        body=graph,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_input_directions=[direction],
        scan_output_axes=[axis],
        scan_output_directions=[direction],
    )
    return [
        node("ReduceMean", "x", "mean", axes=[1], keepdims=0),
        node("Sub", "mean mean", "zero"),
        scan,
        node("MatMul", "last v", "z0"),
        node("ReduceMean", "ys", "m", axes=[axis], keepdims=0),
        node("Add", "z0 m", "z"),
    ]


LAST_WEIGHT = {"v": W(WIDTH, 4)}
LOOP_GRAPHS: dict[str, tuple[list[onnx.NodeProto], tuple[int, ...]]] = {
    "while": (loop_while_small(), (WIDTH,)),
    "scan": (scans(0, 0), (5, WIDTH)),
    "scan backwards, steps last": (scans(1, 2), (5, WIDTH)),
}
