"""The values of a graph that are activations: of samples, or of layers that parameters feed.

A layer may take a parameter or a constant instead of samples: a table of positions, learned queries
or coordinates. Its output is an activation like any other. But a product of parameters may also be
part of a weight, as the B A of W + B A. Where its result becomes the weight of a product with
samples, it is a layer only if it belongs to a module of its own or to attention, or if a bias or an
activation follows.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from lsuv_cli.graph.dataflow import SIZE_READERS, values_from
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import values_read
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.torch_origin import module_path, scopes
from lsuv_cli.passes.packed_projections import WEIGHT
from lsuv_cli.passes.pipeline import Pass

# What a layer feeds and a weight does not.
NON_LINEAR = frozenset(("Softmax", "LayerNormalization", "Erf", "Sin", "Cos"))
# PyTorch's module that computes the parameters of another one.
PARAMETRIZATIONS = "parametrizations"
VECTOR, MATRIX = 1, 2
SUMS = frozenset(("Add", "Sub"))


def find_activations(graph: EditableGraph) -> None:
    """Record the activations of a graph, its inputs among them."""
    finder = _Finder(graph, values_from_samples(graph))
    activations = _inputs(graph)
    for node in graph.nodes:
        if node.op_type in SIZE_READERS:
            continue
        if activations.intersection(values_read(node)) or finder.is_fed_by_parameters(node):
            activations.update(filter(None, node.output))
    graph.activations = frozenset(activations)


def values_from_samples(graph: EditableGraph) -> set[str]:
    """Return the values of a graph that are computed from its inputs, these included."""
    return values_from(_inputs(graph), graph.nodes)


def _inputs(graph: EditableGraph) -> set[str]:
    return {value.name for value in graph.model.graph.input} - graph.parameters.keys()


class _Finder:
    """Tells the layers among the products of parameters."""

    def __init__(self, graph: EditableGraph, from_samples: set[str]) -> None:
        self._graph = graph
        self._from_samples = from_samples

    def is_fed_by_parameters(self, node: onnx.NodeProto) -> bool:
        """Return whether a node of constants alone is a layer."""
        if operator_of(node).product is None or len(node.input) < 2:
            return False
        graph = self._graph
        views = [graph.view(name) for name in node.input[:2]]
        parameters = [view.parameter for view in views if view is not None]
        if not parameters or len(set(parameters)) < len(parameters):
            return False
        return any(WEIGHT in name for name in parameters) or self._is_layer(node)

    def _is_layer(self, product: onnx.NodeProto) -> bool:
        """Return whether a product of constants is more than a part of a weight."""
        used = False
        for reader, value, is_term in self._readers(product):
            if not self._from_samples.intersection(reader.output):
                if not is_term and (_is_non_linear(reader) or self._adds(reader, value, VECTOR)):
                    return True
                continue
            used = True
            weights = [name for name in reader.input[:2] if name not in self._from_samples]
            if operator_of(reader).product is None or weights != [value]:
                return True
            if self._has_own_module(product, reader):
                return True
        return not used

    def _readers(self, product: onnx.NodeProto) -> Iterator[tuple[onnx.NodeProto, str, bool]]:
        """Yield the nodes behind a product, the value they read, and if it is a term of a sum.

        Beyond the samples none is yielded. A sum counts where its other term may be a matrix.
        """
        terms: dict[str, bool] = dict.fromkeys(product.output, False)
        pending = list(product.output)
        while pending:
            value = pending.pop()
            for reader in self._graph.readers(value):
                yield reader, value, terms[value]
                if self._from_samples.intersection(reader.output):
                    continue
                is_term = terms[value] or self._adds(reader, value, MATRIX)
                new = [name for name in reader.output if name not in terms]
                terms |= dict.fromkeys(new, is_term)
                pending += new

    def _adds(self, node: onnx.NodeProto, value: str, rank: int) -> bool:
        """Return whether a node adds a vector to a value (rank 1), or possibly a matrix (2)."""
        if node.op_type not in SUMS:
            return False
        shapes = [self._graph.shape(name) for name in node.input if name != value]
        # Of a computed value the shape is not known; a bias would be a parameter.
        ranks = [MATRIX if shape is None else min(len(shape), MATRIX) for shape in shapes]
        return rank in ranks

    def _has_own_module(self, product: onnx.NodeProto, reader: onnx.NodeProto) -> bool:
        """Return whether a product is made in a module that has its weight, and is used outside."""
        path = _path(product)
        if not path or path == _path(reader) or PARAMETRIZATIONS in path.split("."):
            return False
        matrices = [name for name in product.input[:2] if len(self._graph.shape(name) or ()) > 1]
        names = {view.parameter for view in map(self._graph.view, matrices) if view}
        return any(name.rpartition(".")[0] == path for name in names)


def _is_non_linear(node: onnx.NodeProto) -> bool:
    return operator_of(node).activation is not None or node.op_type in NON_LINEAR


def _path(node: onnx.NodeProto) -> str:
    """Return the path of the PyTorch module that a node comes from; "" where nothing tells."""
    inner = scopes(node)[:-1]
    return inner[-1] if inner else module_path(node.name)


PASS = Pass("activations", find_activations, requires=("packed_projections", "late_biases"))
