"""A node's name, attributes, the values it reads, and the graphs inside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import TensorProto, helper

FLOAT_TYPES = frozenset(
    (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
)
DEFAULT_DOMAINS = ("", "ai.onnx")
MICROSOFT_DOMAIN = "com.microsoft"  # ONNX Runtime's own operators


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def node_name(node: onnx.NodeProto) -> str:
    """Return a node's name, or its first output's if it has none."""
    return node.name or next(iter(node.output), node.op_type)


def names_in(graph: onnx.GraphProto) -> set[str]:
    """Return the names of all values of a graph, and of the bodies inside it."""
    names = {value.name for value in (*graph.input, *graph.output)}
    names.update(tensor.name for tensor in graph.initializer)
    for node in graph.node:
        names.update(node.input, node.output)
        for body in bodies(node):
            names |= names_in(body)
    return names


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the graphs inside an If, Loop or Scan."""
    return [
        graph
        for attribute in node.attribute
        for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs)
    ]


def captured_values(node: onnx.NodeProto) -> set[str]:
    """Return the values that a node's bodies read from outside."""
    names: set[str] = set()
    for body in bodies(node):
        own = {value.name for value in body.input} | {value.name for value in body.initializer}
        inner: set[str] = {value.name for value in body.output}
        for other in body.node:
            own.update(other.output)
            inner |= values_read(other)
        names |= inner - own
    return names - {""}


def values_read(node: onnx.NodeProto) -> set[str]:
    """Return the values a node reads, with those that its bodies capture from outside."""
    return (set(node.input) | captured_values(node)) - {""}


def rename_captured(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Have a node's bodies read other values from outside.

    No name made inside a body may be one of the new names, so that none is hidden.

    Args:
        node: modified.
        names: the new name for each value, if it has one.
    """
    for body in bodies(node):
        rename_outside(body, names)


def rename_outside(body: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Have one body read other values from outside; see `rename_captured`.

    Args:
        body: modified; a name that it makes itself keeps its meaning.
        names: the new name for each value, if it has one.
    """
    made = {name for node in body.node for name in node.output}
    own = made | {value.name for value in body.input} | {value.name for value in body.initializer}
    names = {old: new for old, new in names.items() if old not in own}
    for node in body.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        rename_captured(node, names)
    for value in body.output:
        if value.name in names:
            # A body can't give a value from outside as it is; it must be made inside.
            body.node.append(helper.make_node("Identity", [names[value.name]], [value.name]))
