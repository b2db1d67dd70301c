"""The values of a graph that are computed from others."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from lsuv_cli.graph.nodes import values_read

# Operators that read the sizes of a value rather than the value.
SIZE_READERS = frozenset(("Shape", "Size"))


def values_from(values: Iterable[str], nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """Return some values and those that are computed from them, but not from their sizes alone.

    Args:
        values: the values to begin with.
        nodes: in execution order.

    Example:
        >>> from onnx import helper
        >>> nodes = [
        ...     helper.make_node("Shape", ["x"], ["sizes"]),
        ...     helper.make_node("Expand", ["table", "sizes"], ["t"]),
        ...     helper.make_node("Relu", ["x"], ["y"]),
        ... ]
        >>> sorted(values_from(["x"], nodes))
        ['x', 'y']
    """
    found = set(values)
    for node in nodes:
        if node.op_type not in SIZE_READERS and found.intersection(values_read(node)):
            found.update(filter(None, node.output))
    return found
