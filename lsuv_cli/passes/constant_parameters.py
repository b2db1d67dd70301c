"""Constant nodes whose floating-point value has axes: each becomes a parameter."""

from __future__ import annotations

from lsuv_cli.graph.constants import float_array_of
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.parameters import in_memory
from lsuv_cli.passes.pipeline import Pass


def set_constants_aside(graph: EditableGraph) -> None:
    """Remove the Constant nodes that could be parameters, and add their values as such."""
    for node in graph.nodes:
        value = float_array_of(node)
        if value is not None and graph.outputs.isdisjoint(node.output):
            graph.remove(node)
            graph.add_constant(node.output[0], in_memory(value))


PASS = Pass("constant_parameters", set_constants_aside)
