"""Weights that the graph computes from parameters: which of these to draw, and which to scale.

Weight normalisation, weight standardisation, an equalised learning rate, a sum with a product of
low rank and a mask are such computations. The nodes stay; what is recorded is how the weight
follows from its parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from lsuv_cli.graph.computed_weight import ComputedWeight
from lsuv_cli.graph.dataflow import SIZE_READERS
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.homogeneous import scaling_set
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, values_read
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.views import Reshaped, View, overlap
from lsuv_cli.passes.constant_shapes import shapes_of_constants
from lsuv_cli.passes.numbers import numbers_read
from lsuv_cli.passes.pipeline import Pass
from lsuv_cli.passes.rearrangements import ViewSteps, view_steps

# Operators that only change the shape, whatever their arguments.
RESHAPING = frozenset(("Flatten", "Reshape", "Squeeze", "Unsqueeze"))


def find_computed_weights(graph: EditableGraph) -> None:
    """Record the weights that a graph computes from parameters."""
    values = list(dict.fromkeys(_operands(graph)))
    if not values:
        return
    nodes = graph.needed(values)
    inputs = {value.name for value in graph.model.graph.input}
    shapes = shapes_of_constants(graph, nodes, values)
    for value in values:
        own = graph.needed([value])
        parameters = [name for node in own for name in node.input if graph.is_weight(name)]
        reads_sizes = any(inputs.intersection(values_read(node)) for node in own)
        if value in shapes and parameters and not reads_sizes:
            search = _Search(graph, value, own, list(dict.fromkeys(parameters)), shapes)
            graph.computed_weights[value] = search.found()


def _operands(graph: EditableGraph) -> list[str]:
    """Return the factors of products that are neither activations nor weights as they are."""
    return [
        name
        for node in graph.nodes
        if operator_of(node).looks_like_a_layer and graph.activations.intersection(node.output)
        for name in node.input[:2]
        if name
        and name not in graph.activations
        and not graph.is_weight(name)
        and graph.producer(name) is not None
    ]


class _Search:
    """Finds how one weight follows from its parameters."""

    def __init__(
        self,
        graph: EditableGraph,
        value: str,
        nodes: Sequence[onnx.NodeProto],
        parameters: Sequence[str],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._graph = graph
        self._value = value
        self._nodes = nodes
        self._parameters = parameters
        self._shapes = shapes
        self._numbers = numbers_read(graph, nodes)

    def found(self) -> ComputedWeight:
        """Return the weight."""
        graph, value = self._graph, self._value
        trainable = [name for name in self._parameters if self._is_trainable(name)]
        matrix, name = self._matrix(trainable), ""
        if matrix is not None:
            name = graph.new_name(f"{value}/matrix")
            graph.add_view(name, matrix)
        holder = "" if matrix is None else matrix.parameter
        candidates = self._distinct(trainable)
        preferred = next((one for one in candidates if self._source(one) == holder), "")
        return ComputedWeight(
            value=value,
            shape=self._shapes[value],
            makes=frozenset(name for node in self._nodes for name in node.output if name),
            parameters=tuple(self._parameters),
            matrix=name,
            scaled=scaling_set(value, self._nodes, candidates, preferred, self._numbers),
            operators=tuple(dict.fromkeys(node.op_type for node in self._nodes if _computes(node))),
        )

    def _source(self, name: str) -> str:
        view = self._graph.view(name)
        assert view is not None
        return view.parameter

    def _is_trainable(self, name: str) -> bool:
        return self._source(name) not in self._graph.fixed and name not in self._numbers

    def _distinct(self, names: Sequence[str]) -> list[str]:
        """Return values that have no elements in common: of those that have, the largest."""
        graph = self._graph
        kept: list[str] = []
        for name in sorted(names, key=lambda one: -int(np.prod(graph.shape(one) or ()))):
            views = [graph.view(other) for other in (name, *kept)]
            one, *others = [view for view in views if view is not None]
            shape = graph.info(one).shape
            if not any(overlap(one, other, shape) for other in others):
                kept.append(name)
        return [name for name in names if name in kept]

    def _matrix(self, trainable: Sequence[str]) -> View | None:
        """Return the view of a parameter that has the weight's shape, element by element."""
        views = self._views(self._value, {})
        usable = [
            view
            for view in views
            if view.parameter in {self._source(name) for name in trainable}
            and not _is_mask(self._graph, view.parameter, alone=len(views) == 1)
        ]
        return usable[0] if usable else None

    def _views(self, value: str, known: dict[str, list[View]]) -> list[View]:
        """Return the views of parameters whose elements become a value's, one by one."""
        if value in known:
            return known[value]
        known[value] = []
        view, node = self._graph.view(value), self._graph.producer(value)
        shape = self._shapes.get(value)
        if view is not None:
            known[value] = [view]
        elif node is not None and shape is not None and node.domain in DEFAULT_DOMAINS:
            known[value] = self._views_through(node, value, shape, known)
        return known[value]

    def _views_through(
        self,
        node: onnx.NodeProto,
        value: str,
        shape: tuple[int, ...],
        known: dict[str, list[View]],
    ) -> list[View]:
        source = self._shapes.get(next(iter(node.input), ""))
        steps: ViewSteps = []
        if node.op_type in RESHAPING:
            steps = [(Reshaped(shape),)]
        elif source is not None:
            steps = view_steps(node, source, self._graph.integers)
        if steps:
            more = steps[list(node.output).index(value)]
            inner = self._views(node.input[0], known)
            views = [View(view.parameter, (*view.steps, *more)) for view in inner]
            return [view for view in views if self._is_view(view)]
        if operator_of(node).product is not None:
            return []
        same = [name for name in node.input if self._shapes.get(name) == shape]
        return [view for name in dict.fromkeys(same) for view in self._views(name, known)]

    def _is_view(self, view: View) -> bool:
        elements = np.empty(self._graph.info(view).shape, np.int8)  # takes no memory
        return np.may_share_memory(view.of(elements), elements)


def _computes(node: onnx.NodeProto) -> bool:
    """Return whether a node does more than give a constant, a size or another shape."""
    is_constant = node.op_type in ("Constant", "ConstantOfShape", "Concat", *SIZE_READERS)
    return not is_constant and not operator_of(node).rearranges


def _is_mask(graph: EditableGraph, parameter: str, *, alone: bool) -> bool:
    """Return whether a parameter holds nothing but zeros and ones, beside another candidate."""
    if alone:
        return False
    value = graph.parameters[parameter].read()
    return bool(np.all((value == 0) | (value == 1)))


PASS = Pass("computed_weights", find_computed_weights, requires=("activations", "gemm_addends"))
