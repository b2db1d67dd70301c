"""Sizes and limits that a graph computes: known where they are the same for all samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.parameters import in_memory
from lsuv_cli.passes import rearrangements
from lsuv_cli.passes.known_sizes import KnownSizes
from support.graphs import i64, node, random_weight
from support.inference import outputs_of

INTEGERS = {
    "first": i64(0),
    "second": i64(1),
    "last": i64(-1),
    "two": i64(2),
    "minus": i64(-3),
    "third": np.array(2),
    "wider": i64(1, 1, 12),
    "higher": i64(2, 6, 12),
    "wrong": i64(5, 12),
}
SHAPE = ("n", 5, 12)


def graph_of(
    nodes: list[onnx.NodeProto],
    *outputs: str,
    shape: tuple[int | str, ...] = SHAPE,
    weights: dict[str, Any] | None = None,
) -> EditableGraph:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in INTEGERS.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    stored = {name: in_memory(value) for name, value in (weights or {}).items()}
    return EditableGraph(model, stored, Path("m.onnx"), 18)


def width_of(value: str, output: str) -> list[onnx.NodeProto]:
    """Return the nodes that make the last size of a value, a vector of one element."""
    return [
        node("Shape", value, f"{output}_shape"),
        node("Gather", f"{output}_shape last", output),
    ]


def test_a_parameter_sliced_by_a_known_size_is_a_view() -> None:
    nodes = [
        *width_of("x", "width"),
        node("Mul", "width two", "end"),
        node("Slice", "w width end first", "part"),
        node("MatMul", "x part", "y"),
    ]
    graph = graph_of(nodes, "y", weights={"w": random_weight(36, 12)})
    rearrangements.PASS.run(graph)
    assert graph.shape("part") == (12, 12)
    assert graph.views["part"].part == "[12:24]"
    assert [one.op_type for one in graph.nodes] == ["MatMul"]


@pytest.mark.parametrize("shape", [("n", 5, 12), (4, 5, 12)])
def test_the_size_of_the_batch_is_never_known(shape: tuple[int | str, ...]) -> None:
    """A model is run on batches of other sizes than its file declares."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape first", "batch"),
        node("Slice", "w first batch", "part"),
        node("Add", "x part", "y"),
    ]
    graph = graph_of(nodes, "y", shape=shape, weights={"w": random_weight(36, 12)})
    before = [one.SerializeToString() for one in graph.nodes]
    rearrangements.PASS.run(graph)
    assert [one.SerializeToString() for one in graph.nodes] == before
    assert not graph.views


def test_sizes_of_what_a_sliced_parameter_makes_are_known_after_it() -> None:
    """ONNX does not infer the shape of what is sliced by a computed limit."""
    nodes = [
        *width_of("x", "width"),
        node("Slice", "w first width second", "part"),
        node("MatMul", "x part", "y"),
        *width_of("y", "width2"),
        node("Slice", "v first width2 second", "part2"),
        node("MatMul", "y part2", "z"),
    ]
    weights = {"w": random_weight(12, 20), "v": random_weight(12, 30)}
    graph = graph_of(nodes, "z", weights=weights)
    rearrangements.PASS.run(graph)
    assert graph.shape("part2") == (12, 12)


def test_a_learned_query_repeated_for_each_sample_has_a_known_width() -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape first", "batch"),
        node("Concat", "batch second second", "repeats", axis=0),
        node("Tile", "query repeats", "tiled"),
        *width_of("tiled", "width"),
        node("Slice", "w first width", "part"),
        node("MatMul", "tiled part", "y"),
    ]
    weights = {"query": random_weight(1, 1, 12), "w": random_weight(36, 12)}
    graph = graph_of(nodes, "y", weights=weights)
    rearrangements.PASS.run(graph)
    assert graph.shape("part") == (12, 12)


def test_a_parameter_that_is_expanded_without_copies_is_a_view() -> None:
    nodes = [
        node("Expand", "w wider", "more"),
        node("Expand", "w higher", "copies"),
        node("Expand", "w wrong", "y"),
    ]
    graph = graph_of(nodes, "y", weights={"w": random_weight(6, 12)})
    rearrangements.PASS.run(graph)
    assert graph.shape("more") == (1, 6, 12)
    assert [list(one.output) for one in graph.nodes] == [["copies"], ["y"]]


def test_what_depends_on_samples_or_can_not_be_inferred_is_not_known() -> None:
    nodes = [
        node("Cast", "x", "integers", to=TensorProto.INT64),
        node("ReduceMax", "integers", "largest", keepdims=0),
        node("Strange", "x", "odd", domain="com.example"),
        node("Shape", "odd", "odd_shape"),
        node("Gather", "shape third", "twelve"),
        node("Shape", "x", "shape"),
        node("Div", "twelve first", "infinite"),
    ]
    sizes = KnownSizes(graph_of(nodes, "largest"))
    for value in ("largest", "odd_shape", "shape", "infinite", "x", "nothing"):
        assert sizes.integers(value) is None, value
    assert sizes.integers("twelve") == 12
    assert sizes.integers("two") == [2]


UNARY = ["Abs", "Neg", "Identity"]
BINARY = ["Add", "Sub", "Mul", "Max", "Min"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_known_is_what_onnx_runtime_computes_for_any_batch(data: st.DataObject) -> None:
    nodes = [node("Shape", "x", "shape"), node("Concat", "two shape minus", "joined", axis=0)]
    vectors = ["shape", "joined", "two", "minus"]
    lengths = {"shape": 3, "joined": 5, "two": 1, "minus": 1}
    for number in range(data.draw(st.integers(1, 8))):
        name = f"v{number}"
        kind = data.draw(st.sampled_from(["unary", "binary", "divide", "pick", "join"]))
        one, other = (data.draw(st.sampled_from(vectors)) for _ in range(2))
        if kind == "binary" and 1 in (lengths[one], lengths[other]):
            operator = data.draw(st.sampled_from(BINARY))
            nodes.append(node(operator, f"{one} {other}", name))
            lengths[name] = max(lengths[one], lengths[other])
        elif kind == "unary":
            nodes.append(node(data.draw(st.sampled_from(UNARY)), one, name))
            lengths[name] = lengths[one]
        elif kind == "divide":
            divisor = data.draw(st.sampled_from(["two", "minus"]))
            nodes.append(node(data.draw(st.sampled_from(["Div", "Mod"])), f"{one} {divisor}", name))
            lengths[name] = lengths[one]
        elif kind == "pick":
            nodes.append(node("Gather", f"{one} last", name))
            lengths[name] = 1
        else:
            nodes.append(node("Concat", f"{one} {other}", name, axis=0))
            lengths[name] = lengths[one] + lengths[other]
        vectors.append(name)
    graph = graph_of(nodes, *(one.output[0] for one in nodes))
    for value in graph.model.graph.output:
        value.type.tensor_type.elem_type = TensorProto.INT64
    sizes = KnownSizes(graph)
    known = {name: sizes.integers(name) for name in graph.outputs}
    first, second = (computed(graph.model, batch) for batch in (3, 7))
    for name, integers in known.items():
        if integers is not None:
            np.testing.assert_array_equal(integers, first[name], strict=True)
            np.testing.assert_array_equal(integers, second[name], strict=True)


def computed(model: onnx.ModelProto, batch: int) -> dict[str, Any]:
    """Return the outputs of a model by name."""
    found = outputs_of(model, {"x": np.zeros((batch, 5, 12), np.float32)})
    return {value.name: array for value, array in zip(model.graph.output, found, strict=True)}
