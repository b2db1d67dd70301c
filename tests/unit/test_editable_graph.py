"""The graph that passes rewrite: its index follows every change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.core.errors import ModelError
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.parameters import in_memory
from lsuv_cli.graph.uses import Uses
from lsuv_cli.graph.views import Sliced, Transposed, View
from support.graphs import body, node, random_weight

FED = ["a", "b"]


def editable(nodes: list[onnx.NodeProto], *outputs: str) -> EditableGraph:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in FED],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.array([3, 4]), "sizes")],
    )
    stored = {"w": in_memory(random_weight(6, 4))}
    return EditableGraph(helper.make_model(graph), stored, Path("m.onnx"), 17)


def capturing(condition: str, outside: str, output: str) -> onnx.NodeProto:
    """Return an If whose bodies read a value from outside."""
    branch = body([node("Relu", outside, "inner")], {}, ["inner"])
    return node("If", condition, output, then_branch=branch, else_branch=branch)


def assert_same_index(graph: Uses, rebuilt: Uses, values: set[str]) -> None:
    for value in values:
        assert graph.producer(value) is rebuilt.producer(value), value
        assert list(map(id, graph.readers(value))) == list(map(id, rebuilt.readers(value))), value
        assert graph.read_count(value) == rebuilt.read_count(value), value
        assert graph.only_reader(value) is rebuilt.only_reader(value), value
        needed = [graph.needed([value]), rebuilt.needed([value])]
        assert list(map(id, needed[0])) == list(map(id, needed[1])), value


@given(st.data())
def test_after_any_changes_the_index_is_the_one_built_from_scratch(data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    values = list(FED)
    nodes = []
    for number in range(draw(1, 8)):
        inputs = [values[draw(0, len(values) - 1)] for _ in range(2)]
        made = f"v{number}"
        is_plain = data.draw(st.booleans())
        nodes.append(
            node("Add", " ".join(inputs), made)
            if is_plain
            else capturing(inputs[0], inputs[1], made)
        )
        values.append(made)
    graph = editable(nodes)
    expected = graph.nodes
    seen = set(values)
    for number in range(draw(1, 12)):
        if not expected:
            break
        place = draw(0, len(expected) - 1)
        changed = expected[place]
        change = data.draw(st.sampled_from(("replace", "append", "remove", "input", "output")))
        if change == "input":
            graph.set_input(changed, 0, values[draw(0, len(values) - 1)])
        elif change == "output":
            seen.add(f"o{number}")
            graph.set_output(changed, 0, f"o{number}")
        else:
            made = str(changed.output[0])
            first = node("Neg", values[draw(0, len(values) - 1)], f"t{number}")
            second = node("Sum", f"{changed.input[0]} t{number} t{number}", made)
            new = {"replace": [first, second], "append": [changed, first], "remove": []}[change]
            seen.add(f"t{number}")
            graph.replace(changed, new)
            expected[place : place + 1] = new
    assert list(map(id, graph.nodes)) == list(map(id, expected))
    assert_same_index(graph, Uses(expected), seen)


def test_a_node_with_bodies_reads_what_they_capture() -> None:
    graph = editable([node("Neg", "a", "x"), capturing("b", "x", "y")], "y")
    assert [reader.op_type for reader in graph.readers("x")] == ["If"]
    assert graph.read_count("x") == 1
    assert [one.op_type for one in graph.needed(["y"])] == ["Neg", "If"]


def test_unread_nodes_are_removed_upwards_and_no_further_than_is_said() -> None:
    chain = [
        node("Neg", "a", "x"),
        node("Concat", "x", "y", axis=0),
        node("Concat", "y y", "z", axis=0),
        node("Concat", "x", "out", axis=0),
    ]
    graph = editable(chain, "out")
    graph.remove_unread(["z", "out", "a", "missing"], {"Concat"})
    assert [list(one.output) for one in graph.nodes] == [["x"], ["out"]]
    graph.remove_unread(["x"], {"Neg"})
    assert len(graph.nodes) == 2, "x is still read"


def test_new_names_are_taken_neither_by_the_graph_nor_by_each_other() -> None:
    graph = editable([node("Neg", "a", "x"), capturing("b", "x", "y")], "y")
    assert [graph.new_name(name) for name in ("x", "w", "inner", "new", "new")] == [
        "x/2",
        "w/2",
        "inner/2",
        "new",
        "new/2",
    ]


def test_parameters_views_and_constants() -> None:
    graph = editable([node("MatMul", "a b", "y")], "y")
    turned = View("w", (Transposed((1, 0)),))
    graph.add_view("t", turned)
    graph.add_copy("copied", "w")
    graph.add_constant("five", in_memory(np.full(5, 5, np.float16)))
    assert [graph.shape(name) for name in ("w", "t", "copied", "five")] == [
        (6, 4),
        (4, 6),
        (6, 4),
        (5,),
    ]
    assert [graph.is_weight(name) for name in ("w", "t", "a", "y", "")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert graph.view("t") == turned
    assert graph.shape("a") is None
    assert graph.info(View("five")).dtype == np.float16
    rows = View("w", (Sliced(((0, 3, None),)),))
    graph.tie("copied", rows)
    assert graph.shape("copied") == (3, 4)
    assert list(graph.parameters) == ["w", "five"]
    assert graph.constants == {"five"}


def test_integers_come_from_initializers_and_from_constants() -> None:
    new = editable([]).new_nodes("stem")
    name = new.integers([1, -1], "shape")
    graph = editable(new.nodes)
    found = [graph.integers(value) for value in ("sizes", name)]
    assert [None if value is None else value.tolist() for value in found] == [[3, 4], [1, -1]]
    assert graph.integers("a") is None
    assert graph.integers("w") is None


def test_nodes_are_written_to_the_model_at_the_end() -> None:
    graph = editable([node("Neg", "a", "x"), node("Abs", "x", "y")], "y")
    graph.remove(graph.nodes[0])
    graph.set_input(graph.nodes[0], 0, "b")
    graph.write_nodes()
    assert [(one.op_type, list(one.input)) for one in graph.model.graph.node] == [("Abs", ["b"])]


def test_a_broken_graph_is_refused() -> None:
    with pytest.raises(ModelError, match="which no node produces"):
        editable([node("Neg", "nothing", "x")])
