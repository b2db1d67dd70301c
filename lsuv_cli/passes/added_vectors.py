"""What is added to a product, directly or behind nodes that only drop, add or turn its axes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, FLOAT_TYPES, attributes

# The meaning of an axis: ROWS, CHANNELS, or what a pass makes of it; None for a new one of size 1.
Label = Hashable | None

ROWS, CHANNELS = "rows", "channels"


@dataclass(frozen=True, slots=True)
class Addition:
    """An Add behind a product.

    Attributes:
        node: the Add.
        other: the value that it adds.
        labels: the meaning of the axes of what it is added to.
        between: the nodes between the product and the Add, in order.
    """

    node: onnx.NodeProto
    other: str
    labels: tuple[Label, ...]
    between: tuple[onnx.NodeProto, ...]

    def remove(self, graph: EditableGraph, product: str) -> str:
        """Remove the Add; what it added must be part of the product then.

        Args:
            graph: modified.
            product: the value that was added to.

        Returns:
            The name that the product must have.
        """
        output = self.node.output[0]
        graph.remove(self.node)
        if not self.between:
            return output
        graph.set_output(self.between[-1], 0, output)
        return product


def addition_behind(
    graph: EditableGraph, product: str, labels: Sequence[Label], *, whole: bool
) -> Addition | None:
    """Return the Add that reads a product, and nothing else does; None without one.

    Args:
        graph: the graph.
        product: the value.
        labels: the meaning of its axes, the last ones at least.
        whole: whether there are no more axes; if there may be, the Add must follow directly.
    """
    value, current = product, tuple(labels)
    between: list[onnx.NodeProto] = []
    while value not in graph.outputs:
        reader = graph.only_reader(value)
        if reader is None or reader.domain not in DEFAULT_DOMAINS:
            return None
        inputs = list(reader.input)
        if reader.op_type == "Add" and inputs.count(value) == 1:
            other = inputs[1 - inputs.index(value)]
            return Addition(reader, other, current, tuple(between))
        behind = labels_behind(reader, current, graph) if whole and inputs[0] == value else None
        if behind is None:
            return None
        between.append(reader)
        value, current = reader.output[0], behind
    return None


def labels_behind(
    node: onnx.NodeProto, labels: tuple[Label, ...], graph: EditableGraph
) -> tuple[Label, ...] | None:
    """Return the meaning of the axes of what a node makes; None for one that does more.

    Args:
        node: the node.
        labels: the meaning of the axes of its first input.
        graph: the graph.
    """
    found = attributes(node)
    match node.op_type:
        case "Identity":
            return labels
        case "Cast":
            # Whatever the file says, float16 and bfloat16 are computed in float32.
            return labels if found["to"] in FLOAT_TYPES - {TensorProto.DOUBLE} else None
        case "Transpose":
            perm = found.get("perm", range(len(labels))[::-1])
            return tuple(labels[axis] for axis in perm)
        case "Gather":
            index, axis = graph.integers(node.input[1]), found.get("axis", 0) % len(labels)
            is_dropped = index is not None and index.ndim == 0 and labels[axis] in (ROWS, None)
            return labels[:axis] + labels[axis + 1 :] if is_dropped else None
        case "Squeeze" | "Unsqueeze":
            axes = found.get("axes", graph.integers((*node.input, "")[1]))
            return None if axes is None else _resized(node.op_type, axes, labels)
    return None


def _resized(operator: str, axes: Sequence[int], labels: tuple[Label, ...]) -> tuple[Label, ...]:
    """Return the labels without some axes, or with new ones."""
    rank = len(labels) + (len(axes) if operator == "Unsqueeze" else 0)
    places = {int(axis) % rank for axis in axes}
    if operator == "Squeeze":
        return tuple(one for place, one in enumerate(labels) if place not in places)
    rest = iter(labels)
    return tuple(None if place in places else next(rest) for place in range(rank))
