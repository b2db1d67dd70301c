"""Products with several matrices that are stacked in one weight, replaced by one for each.

A mixture of experts that computes all of them at once keeps their matrices in one parameter,
(experts, in, out), and multiplies by them in one MatMul. They are as many layers: each gets an
orthonormal matrix and a scale of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, node_name
from lsuv_cli.graph.views import EVERYTHING, Reshaped, Sliced, View
from lsuv_cli.passes.activations import values_from_samples
from lsuv_cli.passes.added_vectors import CHANNELS, ROWS, Addition, Label, addition_behind
from lsuv_cli.passes.pipeline import Pass
from lsuv_cli.passes.ranks import Ranks

# Of more matrices, as of a layer with one for each position, all have one scale.
MAX_MATRICES = 1024
MOD_OPSET = 10


@dataclass(frozen=True, slots=True)
class _Stacked:
    """A product with stacked matrices.

    Attributes:
        node: the MatMul.
        data: the value that is multiplied.
        view: the weight.
        batch: the sizes of the weight's axes before the matrix.
        matrix: the shape of a matrix.
        is_left: whether the weight is the first factor, and a matrix (out, in).
    """

    node: onnx.NodeProto
    data: str
    view: View
    batch: tuple[int, ...]
    matrix: tuple[int, int]
    is_left: bool

    @property
    def channels(self) -> int:
        """The number of a matrix's outputs."""
        return self.matrix[0] if self.is_left else self.matrix[1]

    @property
    def labels(self) -> tuple[Label, ...]:
        """The meaning of the output's last axes."""
        last = (CHANNELS, ROWS) if self.is_left else (ROWS, CHANNELS)
        return (*range(len(self.batch)), *last)


def unstack_matrices(graph: EditableGraph) -> None:
    """Replace each product with stacked matrices by one product for each of them."""
    found = [one for node in graph.nodes if (one := _stacked(node, graph)) is not None]
    if not found:
        return
    ranks, from_samples = Ranks(graph), values_from_samples(graph)
    for stacked in found:
        node = stacked.node
        if stacked.data not in from_samples:
            continue  # part of a weight that is computed
        bias = _bias(stacked, graph, ranks)
        output = node.output[0] if bias is None else bias.remove(graph, node.output[0])
        graph.replace(node, _Writer(stacked, bias, graph, ranks).written(output))


def _stacked(node: onnx.NodeProto, graph: EditableGraph) -> _Stacked | None:
    """Read a MatMul of data and a weight of several matrices; None for any other node."""
    if node.op_type != "MatMul" or node.domain not in DEFAULT_DOMAINS or graph.opset < MOD_OPSET:
        return None
    views = [graph.view(name) for name in node.input]
    if (views[0] is None) == (views[1] is None):
        return None
    is_left = views[0] is not None
    view = views[0] or views[1]
    assert view is not None
    shape = view.shape(graph.info(view).shape)
    if len(shape) < 3 or not 1 < math.prod(shape[:-2]) <= MAX_MATRICES or 0 in shape:
        return None
    data = node.input[1 if is_left else 0]
    return _Stacked(node, data, view, shape[:-2], (shape[-2], shape[-1]), is_left)


def _bias(stacked: _Stacked, graph: EditableGraph, ranks: Ranks) -> Addition | None:
    """Return the Add of a constant with one number for each matrix's output."""
    product = stacked.node.output[0]
    rank, labels = ranks.of(product), stacked.labels
    if rank is not None:
        labels = (*(ROWS,) * (rank - len(labels)), *labels)
    found = addition_behind(graph, product, labels, whole=rank is not None)
    shape = None if found is None else graph.shape(found.other)
    if found is None or not shape or len(shape) > len(found.labels):
        return None
    sizes: dict[Label, int] = dict(enumerate(stacked.batch))
    meant = found.labels[len(found.labels) - len(shape) :]
    for label, size in zip(meant, shape, strict=True):
        expected = stacked.channels if label == CHANNELS else sizes.get(label, 1)
        if size not in (1, expected):
            return None
    return found if dict(zip(meant, shape, strict=True)).get(CHANNELS) == stacked.channels else None


class _Writer:
    """Writes one product for each matrix, and the concatenation of their results."""

    def __init__(
        self, stacked: _Stacked, bias: Addition | None, graph: EditableGraph, ranks: Ranks
    ) -> None:
        self._stacked = stacked
        self._bias = bias
        self._graph = graph
        self._new = graph.new_nodes(stacked.node.output[0])
        self._axes = [axis for axis, size in enumerate(stacked.batch) if size > 1]
        self._is_flat = (ranks.of(stacked.data) or 0) < len(stacked.batch) + 2

    def written(self, output: str) -> list[onnx.NodeProto]:
        """Return the nodes that take the place of the product.

        Args:
            output: the name of what they make.
        """
        data = self._stacked.data
        if self._is_flat:
            # So that each axis of the weight has one of the data's, if only of size 1.
            ones = self._new.integers([1] * (len(self._stacked.batch) + 2), "ones")
            data = self._new.node("Expand", [data, ones], "spread")
        made = self._joined(data, (), self._axes)
        last = self._new.nodes[-1]
        assert last.output[0] == made
        last.output[0] = output
        return self._new.nodes

    def _joined(self, data: str, index: tuple[int, ...], axes: Sequence[int]) -> str:
        """Append the products for all indices of some axes; return what they make together."""
        if not axes:
            return self._product(data, index)
        size = self._stacked.batch[axes[0]]
        axis = axes[0] - len(self._stacked.batch) - 2
        length = self._length(data, axis)
        parts = [
            self._joined(self._picked(data, one, length, axis), (*index, one), axes[1:])
            for one in range(size)
        ]
        return self._new.node("Concat", parts, "joined", axis=axis)

    def _length(self, data: str, axis: int) -> str:
        """Append the size of an axis, (1,)."""
        new = self._new
        shape = new.node("Shape", [data], "shape")
        limits = [new.integers([number], "integers") for number in (axis, axis + 1)]
        return new.node("Slice", [shape, *limits], "length")

    def _picked(self, data: str, index: int, length: str, axis: int) -> str:
        """Append the data for one matrix; where there is only one for all, it is that."""
        new = self._new
        number = new.integers([index], f"number.{index}")
        place = new.node("Mod", [number, length], f"place.{index}")
        return new.node("Gather", [data, place], f"picked.{index}", axis=axis)

    def _product(self, data: str, index: tuple[int, ...]) -> str:
        """Append the product with one matrix, and its bias."""
        stacked, new = self._stacked, self._new
        suffix = "".join(f".{one}" for one in index)
        weight = new.name(f"weight{suffix}")
        places: dict[Label, int] = dict(zip(self._axes, index, strict=True))
        one = tuple(_one(places.get(axis, 0)) for axis in range(len(stacked.batch)))
        steps = (*stacked.view.steps, Sliced(one), Reshaped(stacked.matrix))
        self._graph.add_view(weight, View(stacked.view.parameter, steps))
        product = onnx.NodeProto()
        product.CopyFrom(stacked.node)
        product.name = node_name(stacked.node) + suffix
        product.input[:] = [weight, data] if stacked.is_left else [data, weight]
        product.output[0] = new.name(f"product{suffix}")
        new.nodes.append(product)
        if self._bias is None:
            return product.output[0]
        terms = [product.output[0], self._vector(self._bias, places, suffix)]
        return new.node("Add", terms, f"sum{suffix}", name=f"{self._bias.node.name}{suffix}")

    def _vector(self, bias: Addition, places: Mapping[Label, int], suffix: str) -> str:
        """Return the name of a view of what is added to one product."""
        graph = self._graph
        view, shape = graph.view(bias.other), graph.shape(bias.other)
        assert view is not None
        assert shape is not None
        meant = bias.labels[len(bias.labels) - len(shape) :]
        part = tuple(
            _one(places.get(label, 0)) if size > 1 and label != CHANNELS else EVERYTHING
            for label, size in zip(meant, shape, strict=True)
        )
        channels = self._stacked.channels
        flat = Reshaped((channels, 1) if self._stacked.is_left else (channels,))
        name = self._new.name(f"bias{suffix}")
        graph.add_view(name, View(view.parameter, (*view.steps, Sliced(part), flat)))
        return name


def _one(index: int) -> tuple[int, int, None]:
    return index, index + 1, None


PASS = Pass("stacked_matrices", unstack_matrices, requires=("rearrangements", "einsum"))
