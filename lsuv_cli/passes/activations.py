"""The values of a graph that are activations: of samples, or of layers that parameters feed.

A layer may take a parameter or a constant instead of samples: a table of positions, learned queries
or coordinates. Its output is an activation like any other. But a product of parameters may also be
part of a weight, as the B A of W + B A. Where its result becomes the weight of a product with
samples, it is a layer only if it belongs to a module of its own, or if a bias or an activation
follows.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import values_read
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.torch_origin import module_path, scopes
from lsuv_cli.passes.pipeline import Pass

# What a layer feeds and a weight does not.
NON_LINEAR = frozenset(("Softmax", "LayerNormalization", "Erf", "Sin", "Cos"))
# PyTorch's module that computes the parameters of another one.
PARAMETRIZATIONS = "parametrizations"
SUMS = frozenset(("Add", "Sub"))


def find_activations(graph: EditableGraph) -> None:
    """Record the activations of a graph, its inputs among them."""
    inputs = {value.name for value in graph.model.graph.input} - graph.parameters.keys()
    from_samples = set(inputs)
    for node in graph.nodes:
        if from_samples.intersection(values_read(node)):
            from_samples.update(node.output)
    finder = _Finder(graph, from_samples)
    activations = set(inputs)
    for node in graph.nodes:
        if activations.intersection(values_read(node)) or finder.is_fed_by_parameters(node):
            activations.update(filter(None, node.output))
    graph.activations = frozenset(activations)


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
        return self._is_layer(node)

    def _is_layer(self, product: onnx.NodeProto) -> bool:
        """Return whether a product of constants is more than a part of a weight."""
        used = False
        for reader, value in self._readers(product):
            if not self._from_samples.intersection(reader.output):
                if _is_non_linear(reader) or self._adds_vector(reader, value):
                    return True
                continue
            used = True
            weights = [name for name in reader.input[:2] if name not in self._from_samples]
            if operator_of(reader).product is None or weights != [value]:
                return True
            if self._has_own_module(product, reader):
                return True
        return not used

    def _readers(self, product: onnx.NodeProto) -> Iterator[tuple[onnx.NodeProto, str]]:
        """Yield the nodes behind a product with the value they read, up to the samples."""
        pending, seen = list(product.output), set(product.output)
        while pending:
            value = pending.pop()
            for reader in self._graph.readers(value):
                yield reader, value
                if not self._from_samples.intersection(reader.output):
                    new = set(reader.output) - seen
                    seen |= new
                    pending += new

    def _adds_vector(self, node: onnx.NodeProto, value: str) -> bool:
        """Return whether a node adds a bias to a value."""
        if operator_of(node).product is not None:
            return False
        others = [name for name in node.input if name != value]
        shapes = [self._graph.shape(name) for name in others]
        return node.op_type in SUMS and any(
            shape is not None and len(shape) == 1 and shape[0] > 1 for shape in shapes
        )

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
