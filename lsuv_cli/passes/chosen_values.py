"""Values that the samples choose from a parameter by an index: experts' matrices and biases."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes
from lsuv_cli.graph.views import View
from lsuv_cli.passes.added_vectors import Label, labels_behind
from lsuv_cli.passes.ranks import Ranks

# Of a single input, as PyTorch's exporter gives them, they make the same value.
OF_SEVERAL = ("Concat", "Max", "Min", "Sum")


@dataclass(frozen=True, slots=True)
class IndexAxis:
    """The meaning of an axis: it is one of the index, at this position."""

    axis: int


@dataclass(frozen=True, slots=True)
class ParameterAxis:
    """The meaning of an axis: it is one of the parameter, at this position."""

    axis: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """A value that holds an element of a parameter for each element of an index.

    Attributes:
        view: the parameter, or a view of one.
        axis: the axis of that along which elements are chosen.
        index: the value that holds their positions.
        labels: the meaning of the value's axes: an axis of the index or of the parameter; None for
            one of size 1.
    """

    view: View
    axis: int
    index: str
    labels: tuple[Label, ...]


class ChosenValues:
    """Finds the values of a graph that samples choose."""

    def __init__(self, graph: EditableGraph, from_samples: set[str], ranks: Ranks) -> None:
        """Find none yet.

        Args:
            graph: the graph.
            from_samples: the values that depend on the samples.
            ranks: ranks of values.
        """
        self._graph = graph
        self._from_samples = from_samples
        self._ranks = ranks

    def of(self, value: str) -> Chosen | None:
        """Return how a value is chosen from a parameter; None for any other value."""
        node = self._graph.producer(value)
        if node is None or node.domain not in DEFAULT_DOMAINS or value not in self._from_samples:
            return None
        if node.op_type in ("Gather", "GatherND") and self._graph.is_weight(node.input[0]):
            return self._picked(node)
        inner = self.of(node.input[0]) if node.input else None
        labels = None if inner is None else labels_behind(node, inner.labels, self._graph)
        if inner is None or labels is None:
            return None
        return Chosen(inner.view, inner.axis, inner.index, labels)

    def _picked(self, node: onnx.NodeProto) -> Chosen | None:
        view, shape = self._graph.view(node.input[0]), self._graph.shape(node.input[0])
        is_nd = node.op_type == "GatherND"
        index = self._first_positions(node) if is_nd else self.source(node.input[1])
        if view is None or not shape or index not in self._from_samples:
            return None
        rank = self._ranks.of(index)
        if rank is None:
            return None
        axis = 0 if is_nd else attributes(node).get("axis", 0) % len(shape)
        own = map(ParameterAxis, range(len(shape)))
        chosen = map(IndexAxis, range(rank))
        labels = [(*chosen,) if one.axis == axis else (one,) for one in own]
        return Chosen(view, axis, index, tuple(itertools.chain(*labels)))

    def _first_positions(self, node: onnx.NodeProto) -> str:
        """Return the positions that a GatherND is given along the first axis; "" if along more."""
        lifted = self._graph.producer(self.source(node.input[1]))
        if lifted is None or lifted.op_type != "Unsqueeze" or attributes(node).get("batch_dims", 0):
            return ""
        axes = attributes(lifted).get("axes", self._graph.integers((*lifted.input, "")[1]))
        index = self.source(lifted.input[0])
        last = -1, self._ranks.of(index)
        return index if axes is not None and len(axes) == 1 and int(axes[0]) in last else ""

    def source(self, value: str) -> str:
        """Return the index that another one is a copy of; itself without one."""
        while True:
            node = self._graph.producer(value)
            if node is None or not self._is_copy(node):
                return value
            value = node.input[0]

    def _is_copy(self, node: onnx.NodeProto) -> bool:
        found = attributes(node)
        if node.op_type == "Expand":
            shape = self._graph.producer(node.input[1])
            if shape is None or shape.op_type != "Shape":
                return False
            return self.source(shape.input[0]) == self.source(node.input[0])
        if node.op_type == "Transpose":
            perm: Sequence[int] = found.get("perm", (1, 0))
            return list(perm) == list(range(len(perm)))
        if node.op_type == "Cast":
            return found["to"] in (TensorProto.INT64, TensorProto.INT32)
        return node.op_type == "Identity" or (node.op_type in OF_SEVERAL and len(node.input) == 1)
