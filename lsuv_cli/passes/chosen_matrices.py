"""Products with a matrix that an index chooses for each sample, replaced by one for each matrix.

A mixture of experts may keep their matrices in one parameter, (experts, out, in), choose one for
each sample by `up[top]`, and multiply by these. Every expert is a layer of its own, whose data are
the samples that reach it: they are sorted by expert, multiplied, and put back in their places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.new_nodes import NewNodes
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, node_name
from lsuv_cli.graph.views import EVERYTHING, Reshaped, Sliced, Transposed, View, ViewStep
from lsuv_cli.passes.activations import values_from_samples
from lsuv_cli.passes.added_vectors import CHANNELS, ROWS, Addition, Label, addition_behind
from lsuv_cli.passes.chosen_values import Chosen, ChosenValues, IndexAxis, ParameterAxis
from lsuv_cli.passes.pipeline import Pass
from lsuv_cli.passes.ranks import Ranks
from lsuv_cli.passes.routed_einsum import RoutedEinsum, routed_einsum
from lsuv_cli.passes.routed_rows import SIZES_INPUT_OPSET, Routes, write_routed
from lsuv_cli.passes.stacked_matrices import MAX_MATRICES

# What picks an element of a parameter, and what stands between that and the product.
CHOOSING = (
    *("Gather", "GatherND", "Transpose", "Unsqueeze", "Squeeze", "Cast", "Identity"),
    *("Concat", "Expand", "Shape", "Max", "Constant"),
)


def divide_by_matrix(graph: EditableGraph) -> None:
    """Replace each product with chosen matrices by one product for each of them."""
    if graph.opset < SIZES_INPUT_OPSET or not any(map(_chooses, graph.nodes)):
        return
    ranks = Ranks(graph)
    chosen = ChosenValues(graph, values_from_samples(graph), ranks)
    for node in graph.nodes:
        if node.op_type == "Gemm":
            _separate_gemm(node, graph, chosen)
    from_samples = values_from_samples(graph)
    divider = _Divider(graph, ChosenValues(graph, from_samples, ranks), ranks)
    for node in graph.nodes:
        product = divider.product(node)
        if product is not None and product.data in from_samples:
            divider.divide(product)


def _chooses(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Gather", "GatherND")


def _separate_gemm(node: onnx.NodeProto, graph: EditableGraph, chosen: ChosenValues) -> None:
    """Replace a Gemm with one chosen matrix by a MatMul and an Add."""
    found = attributes(node)
    plain = [found.get("alpha", 1.0), found.get("beta", 1.0), found.get("transA", 0)]
    if plain != [1.0, 1.0, 0] or chosen.of(node.input[1]) is None:
        return
    new, weight = graph.new_nodes(node.output[0]), node.input[1]
    if found.get("transB", 0):
        weight = new.node("Transpose", [weight], "turned", perm=[1, 0])
    made = new.node("MatMul", [node.input[0], weight], "product", name=node_name(node))
    new.nodes[-1].metadata_props.extend(node.metadata_props)
    if len(node.input) > 2 and node.input[2]:
        new.node("Add", [made, node.input[2]], "sum")
    new.nodes[-1].output[0] = node.output[0]
    graph.replace(node, new.nodes)


@dataclass(frozen=True, slots=True)
class _Product:
    """A product with chosen matrices.

    Attributes:
        node: the MatMul or Einsum.
        data: what is multiplied.
        factor: the value that holds the chosen matrices.
        chosen: how they are chosen.
        axes: the axes of the parameter that are a matrix's inputs and outputs.
        index_labels: for each axis of the result's choices the axis of the index, or None.
        inputs_first: see `write_routed`.
        labels: the meaning of the axes of what the node makes.
        einsum: how an Einsum brings its axes in order; None for a MatMul.
    """

    node: onnx.NodeProto
    data: str
    factor: str
    chosen: Chosen
    axes: tuple[int, int]
    index_labels: Sequence[Label]
    inputs_first: bool
    labels: tuple[Label, ...]
    einsum: RoutedEinsum | None = None


class _Divider:
    """Reads products with chosen matrices, and divides them by matrix."""

    def __init__(self, graph: EditableGraph, chosen: ChosenValues, ranks: Ranks) -> None:
        self._graph = graph
        self._chosen = chosen
        self._ranks = ranks

    def product(self, node: onnx.NodeProto) -> _Product | None:
        """Read a node; None where it does not multiply data by chosen matrices."""
        if node.op_type not in ("MatMul", "Einsum") or node.domain not in DEFAULT_DOMAINS:
            return None
        found = [self._matrices(name) for name in node.input]
        if len(found) != 2 or (found[0] is None) == (found[1] is None):
            return None
        is_first = found[0] is not None
        chosen = found[0] or found[1]
        assert chosen is not None
        factor, data = node.input[:: 1 if is_first else -1]
        if node.op_type == "MatMul":
            return self._of_matmul(node, data, factor, chosen, is_first=is_first)
        einsum = routed_einsum(node, chosen, is_first=is_first)
        if einsum is None:
            return None
        order = [IndexAxis(place) for place in range(len(einsum.index))]
        return _Product(
            node, data, factor, chosen, einsum.axes, order, False, einsum.labels, einsum
        )

    def _matrices(self, value: str) -> Chosen | None:
        """Return how a value is chosen from a parameter of matrices; None for any other value."""
        chosen = self._chosen.of(value)
        if chosen is None:
            return None
        shape = chosen.view.shape(self._graph.info(chosen.view).shape)
        is_matrices = len(shape) == 3 and 0 not in shape and shape[chosen.axis] <= MAX_MATRICES
        return chosen if is_matrices else None

    def _of_matmul(
        self, node: onnx.NodeProto, data: str, factor: str, chosen: Chosen, *, is_first: bool
    ) -> _Product | None:
        *before, first, second = chosen.labels if len(chosen.labels) > 1 else (None, None)
        if not (isinstance(first, ParameterAxis) and isinstance(second, ParameterAxis)):
            return None
        axes = (second.axis, first.axis) if is_first else (first.axis, second.axis)
        last: tuple[Label, ...] = (CHANNELS, ROWS) if is_first else (ROWS, CHANNELS)
        labels = (*(ROWS if one is None else one for one in before), *last)
        return _Product(node, data, factor, chosen, axes, before, is_first, labels)

    def divide(self, product: _Product) -> None:
        """Replace a product by one for each matrix."""
        graph, node = self._graph, product.node
        new = graph.new_nodes(node.output[0])
        addition = self._addition(product)
        biases = None if addition is None else self._biases(addition, product, new)
        output = node.output[0]
        if addition is not None and biases is not None:
            output = addition.remove(graph, output)
        view = product.chosen.view
        size = view.shape(graph.info(view).shape)[product.axes[1]]
        routes = Routes(
            node=node,
            index=self._index(product, new),
            weights=self._weights(product, new),
            biases=biases,
            adder="" if addition is None else addition.node.name,
            outputs=size,
            dtype=graph.info(view).dtype,
        )
        einsum, data = product.einsum, product.data
        if einsum is not None:
            data = einsum.before(new, data)
        write_routed(new, routes, data, graph.opset, inputs_first=product.inputs_first)
        if einsum is not None:
            einsum.behind(new, new.nodes[-1].output[0])
        new.nodes[-1].output[0] = output
        graph.replace(node, new.nodes)
        unread = [product.factor, *([] if addition is None else [addition.other])]
        graph.remove_unread(unread, CHOOSING)

    def _index(self, product: _Product, new: NewNodes) -> str:
        """Append what brings the axes of the index in the order of the matrices' axes."""
        index, labels = product.chosen.index, product.index_labels
        order = [one.axis for one in labels if isinstance(one, IndexAxis)]
        if order != sorted(order):
            index = new.node("Transpose", [index], "turned", perm=order)
        for place, label in enumerate(labels):
            if label is None:
                index = new.unsqueeze(index, place)
        return index

    def _weights(self, product: _Product, new: NewNodes) -> list[str]:
        """Return the names of views of the matrices, (in, out) each."""
        graph, chosen = self._graph, product.chosen
        shape = chosen.view.shape(graph.info(chosen.view).shape)
        rest = [place for place in range(3) if place != chosen.axis]
        flat = Reshaped(tuple(shape[place] for place in rest))
        turned = () if list(product.axes) == rest else (Transposed((1, 0)),)
        names = []
        for position in range(shape[chosen.axis]):
            steps = (_one_of(chosen.axis, position), flat, *turned)
            names.append(self._view(new, f"weight.{position}", chosen.view, steps))
        return names

    def _view(self, new: NewNodes, hint: str, view: View, steps: Iterable[ViewStep]) -> str:
        name = new.name(hint)
        self._graph.add_view(name, View(view.parameter, (*view.steps, *steps)))
        return name

    def _addition(self, product: _Product) -> Addition | None:
        """Return the Add that may add a bias to a product."""
        labels, output = product.labels, product.node.output[0]
        rank = len(labels) if product.einsum is not None else self._ranks.of(output)
        if rank is not None:
            labels = (*(ROWS,) * (rank - len(labels)), *labels)
        return addition_behind(self._graph, output, labels, whole=rank is not None)

    def _biases(self, addition: Addition, product: _Product, new: NewNodes) -> list[str] | None:
        """Return the names of views of each matrix's bias; None where what is added is none."""
        graph, chosen = self._graph, product.chosen
        shape = chosen.view.shape(graph.info(chosen.view).shape)
        number, outputs = shape[chosen.axis], shape[product.axes[1]]
        flat = Reshaped((outputs,))
        view, sizes = graph.view(addition.other), graph.shape(addition.other)
        if view is not None and sizes is not None:
            meant = addition.labels[len(addition.labels) - len(sizes) :]
            expected = [outputs if one == CHANNELS else 1 for one in meant]
            if list(sizes) != expected or CHANNELS not in meant:
                return None
            return [self._view(new, f"bias.{place}", view, (flat,)) for place in range(number)]
        vectors = self._chosen.of(addition.other)
        if vectors is None or vectors.index != chosen.index or vectors.axis != 0:
            return None
        if vectors.view.shape(graph.info(vectors.view).shape) != (number, outputs):
            return None
        meant = addition.labels[len(addition.labels) - len(vectors.labels) :]
        renamed = [CHANNELS if one == ParameterAxis(1) else one for one in vectors.labels]
        if len(meant) < len(renamed) or any(
            one is not None and one != other for one, other in zip(renamed, meant, strict=True)
        ):
            return None
        return [
            self._view(new, f"bias.{position}", vectors.view, (_one_of(0, position), flat))
            for position in range(number)
        ]


def _one_of(axis: int, position: int) -> Sliced:
    return Sliced((*(EVERYTHING,) * axis, (position, position + 1, None)))


PASS = Pass("chosen_matrices", divide_by_matrix, requires=("rearrangements", "einsum"))
