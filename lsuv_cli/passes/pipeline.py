"""Passes over a graph, and the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lsuv_cli.graph.editable import EditableGraph


@dataclass(frozen=True, slots=True)
class Pass:
    """A rewrite of a graph that keeps the function it computes.

    A new pattern of an exporter is one file in this folder, which defines `PASS`, and one line in
    `normal_form.PASSES`. A pass goes through `graph.nodes` and changes the graph with its methods:

        >>> from pathlib import Path
        >>> from onnx import helper
        >>> def cancel_negations(graph):
        ...     for node in graph.nodes:
        ...         inner = graph.producer(node.input[0]) if node.op_type == "Neg" else None
        ...         if inner is not None and inner.op_type == "Neg":
        ...             new = graph.new_nodes(stem=node.output[0])
        ...             new.node("Identity", inner.input, output=node.output[0])
        ...             graph.replace(node, new.nodes)
        ...             graph.remove_unread(inner.output, operators={"Neg"})
        >>> PASS = Pass("cancel_negations", cancel_negations)

        >>> nodes = [helper.make_node("Neg", [x], [y]) for x, y in [("x", "t"), ("t", "y")]]
        >>> x, y = (helper.make_tensor_value_info(name, 1, [2]) for name in "xy")
        >>> model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]))
        >>> graph = EditableGraph(model, {}, Path("m.onnx"), opset=17)
        >>> run_passes([PASS], graph)
        >>> [(node.op_type, list(node.input), list(node.output)) for node in graph.nodes]
        [('Identity', ['x'], ['y'])]

    Attributes:
        name: the name of the module that defines it.
        run: changes the graph.
        requires: the names of the passes that must have run before.
        separates: whether it gives parameters that an exporter stored once, being equal, one
            initializer each; such passes also run when a model is written with new values.
    """

    name: str
    run: Callable[[EditableGraph], None]
    requires: tuple[str, ...] = ()
    separates: bool = False


def run_passes(passes: Sequence[Pass], graph: EditableGraph) -> None:
    """Run passes over a graph.

    Args:
        passes: in the order in which they run.
        graph: modified.

    Raises:
        ValueError: a pass comes before one that it requires.
    """
    check_order(passes)
    for one in passes:
        one.run(graph)


def check_order(passes: Sequence[Pass]) -> None:
    """Check that every pass comes after those that it requires.

    Raises:
        ValueError: one does not, or two have one name.
    """
    done: set[str] = set()
    for one in passes:
        missing = sorted(set(one.requires) - done)
        if missing:
            raise ValueError(f"the pass {one.name} requires {missing[0]}, which comes no earlier")
        if one.name in done:
            raise ValueError(f"two passes are called {one.name}")
        done.add(one.name)
