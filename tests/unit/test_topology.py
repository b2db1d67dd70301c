"""The order of a graph's nodes, and what they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lsuv_cli.core.errors import ModelError
from lsuv_cli.graph.nodes import values_read
from lsuv_cli.graph.topology import execution_order, operators_used

PATH = Path("model.onnx")


def graph_of(nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    return helper.make_graph(nodes, "g", [value], [])


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=10), st.randoms())
def test_any_order_of_the_same_nodes_runs(reads: list[list[int]], random: Any) -> None:
    """Node i reads some of the nodes before it; shuffled, every value is made before it is read."""
    nodes = [
        helper.make_node("Sum", ["x", *(f"v{j % i}" for j in wanted if i)], [f"v{i}"])
        for i, wanted in enumerate(reads)
    ]
    assert execution_order(graph_of(nodes), PATH) == nodes
    shuffled = list(nodes)
    random.shuffle(shuffled)
    made = {"x"}
    for node in execution_order(graph_of(shuffled), PATH):
        assert set(node.input) <= made
        made.update(node.output)
    assert len(made) == len(nodes) + 1


def loop(body: onnx.GraphProto, *inputs: str) -> onnx.NodeProto:
    return helper.make_node("Loop", list(inputs), ["looped"], name="loop", body=body)


def test_what_bodies_capture_is_read() -> None:
    body = helper.make_graph(
        [helper.make_node("Add", ["inner", "outer"], ["sum"], name="add")],
        "body",
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("sum", "far")],
    )
    node = loop(body, "count", "", "x")
    assert values_read(node) == {"count", "x", "outer", "far"}
    assert operators_used([node], []) == {("", "Loop"), ("", "Add")}
    producer = helper.make_node("Relu", ["x"], ["outer"])
    others = [helper.make_node("Relu", ["x"], [name]) for name in ("count", "far")]
    order = execution_order(graph_of([node, producer, *others]), PATH)
    assert order[-1] == node


def test_local_functions_count_by_their_body() -> None:
    function = helper.make_function(
        "mine", "F", ["a"], ["b"], [helper.make_node("Tanh", ["a"], ["b"])], []
    )
    used = operators_used([helper.make_node("F", ["x"], ["y"], domain="mine")], [function])
    assert used == {("", "Tanh")}


def test_broken_graphs_are_named() -> None:
    relu = helper.make_node("Relu", ["x"], ["y"], name="one")
    for nodes, words in [
        ([helper.make_node("Relu", ["z"], ["y"], name="two")], "two reads the value z"),
        (
            [relu, helper.make_node("Tanh", ["x"], ["y"], name="two")],
            "the node two makes the value y",
        ),
        ([helper.make_node("Relu", ["y"], ["y"], name="self")], "cycle, self -> self"),
    ]:
        with pytest.raises(ModelError, match=words):
            execution_order(graph_of(nodes), PATH)
