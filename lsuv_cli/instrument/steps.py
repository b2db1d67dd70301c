"""The steps of a sweep, in execution order.

A layer is two steps: its product is made and measured, and its bias is added. Between the two its
scale is found, for which all samples must have passed the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import onnx

from lsuv_cli.core.indices import LayerIndex, NormIndex, by_layer, by_norm
from lsuv_cli.core.records import Plan
from lsuv_cli.graph.nodes import values_read
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import NormNode


class StepKind(Enum):
    """The action of a step."""

    NODE = auto()  # it runs as it is
    PRODUCT = auto()  # a layer's product is made and measured
    BIAS = auto()  # the layer's bias, or another addend, is added
    STATISTICS = auto()  # a normalisation's input is measured
    NORMALISE = auto()  # and normalised


@dataclass(frozen=True, slots=True)
class SweepStep:
    """A part of a sweep that is not divided further.

    Attributes:
        kind: the action.
        node: the node it is done with.
        index: of the layer or the normalisation; -1 for any other node.
        reads: the values and parameters it reads.
        makes: the values it makes; one that a layer adds to in place is made twice.
    """

    kind: StepKind
    node: onnx.NodeProto
    index: int
    reads: frozenset[str]
    makes: tuple[str, ...]

    @property
    def layer(self) -> LayerIndex:
        """The layer of a step of kind PRODUCT or BIAS."""
        return LayerIndex(self.index)

    @property
    def norm(self) -> NormIndex:
        """The normalisation of a step of kind STATISTICS or NORMALISE."""
        return NormIndex(self.index)


def node_step(node: onnx.NodeProto) -> SweepStep:
    """Return the step that runs a node as it is."""
    made = tuple(name for name in node.output if name)
    return SweepStep(StepKind.NODE, node, -1, frozenset(values_read(node)), made)


def sweep_steps(
    nodes: Sequence[onnx.NodeProto],
    layer_nodes: Sequence[LayerNode],
    plan: Plan,
    norms: Sequence[NormNode],
) -> list[SweepStep]:
    """Return the steps of a sweep over some nodes.

    Args:
        nodes: in execution order.
        layer_nodes: the model's layers.
        plan: which of them are swept.
        norms: normalisations that are to use the samples' statistics.
    """
    layers = {
        layer_nodes[index].node.output[0]: index
        for index, planned in by_layer(plan.layers)
        if planned.swept
    }
    normalised = {norm.node.output[0]: index for index, norm in by_norm(norms)}
    absorbed = {
        layer_node.bias_node.output[0]
        for layer_node in map(layer_nodes.__getitem__, layers.values())
        if layer_node.bias_node is not None
    }
    steps: list[SweepStep] = []
    for node in nodes:
        output = next(iter(node.output), "")
        if output in layers:
            steps += _layer_steps(layers[output], layer_nodes[layers[output]])
        elif output in normalised:
            steps += _norm_steps(normalised[output], norms[normalised[output]])
        elif output not in absorbed:
            steps.append(node_step(node))
    return _without_idle(steps)


def _layer_steps(index: LayerIndex, layer_node: LayerNode) -> Iterable[SweepStep]:
    product = layer_node.node.output[0]
    read = frozenset(layer_node.product_inputs) - {""}
    yield SweepStep(StepKind.PRODUCT, layer_node.node, index, read, (product,))
    added = layer_node.layer.bias_value or layer_node.addend
    if added:
        made = layer_node.layer.output if layer_node.layer.bias_value else product
        yield SweepStep(StepKind.BIAS, layer_node.node, index, frozenset((product, added)), (made,))


def _norm_steps(index: NormIndex, norm: NormNode) -> Iterable[SweepStep]:
    x = norm.node.input[0]
    yield SweepStep(StepKind.STATISTICS, norm.node, index, frozenset((x,)), ())
    read = frozenset((x, norm.scale, norm.shift))
    yield SweepStep(StepKind.NORMALISE, norm.node, index, read, (norm.node.output[0],))


def _without_idle(steps: Sequence[SweepStep]) -> list[SweepStep]:
    """Remove the second halves of layers and normalisations that nothing reads."""
    kept: list[SweepStep] = []
    wanted: set[str] = set()
    for step in reversed(steps):
        if step.kind in (StepKind.BIAS, StepKind.NORMALISE) and wanted.isdisjoint(step.makes):
            continue
        kept.append(step)
        wanted |= step.reads
    return kept[::-1]


def count_nodes(steps: Sequence[SweepStep]) -> int:
    """Count the model's nodes that some steps run, a layer and its bias as one."""
    return sum(step.kind not in (StepKind.BIAS, StepKind.STATISTICS) for step in steps)


def sizes_read(step: SweepStep, sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes of each parameter that a step reads."""
    return {name: sizes[name] for name in step.reads & sizes.keys()}
