"""All other nodes in the graph of a sweep; pending scales pass through where they can."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from lsuv_cli.graph.nodes import captured_values, rename_captured
from lsuv_cli.graph.operators.operator import Homogeneity
from lsuv_cli.graph.operators.table import homogeneity_of, scaled_outputs
from lsuv_cli.instrument.state import PendingScale
from lsuv_cli.instrument.sweep_context import SweepContext


def add_node(context: SweepContext, node: onnx.NodeProto) -> None:
    """Append a node that is no swept layer; its outputs take over pending scales where they can.

    Raises:
        ScaleUnknownError: it needs a scaled value whose scale is not known yet.
    """
    inputs, pending = _inputs(context, node)
    captured = {name: context.scaled(name) for name in captured_values(node)}
    context.append(node, inputs, node.output)
    rename_captured(context.builder.nodes[-1], captured)
    if pending is not None:
        context.values.set_pending(scaled_outputs(node), pending)


def _inputs(context: SweepContext, node: onnx.NodeProto) -> tuple[list[str], PendingScale | None]:
    """Return the node's inputs in the graph, and the scale that is pending on its outputs."""
    pending = [context.values.deferrable_scale(name) for name in node.input]
    match homogeneity_of(node):
        case Homogeneity.FIRST_INPUT:
            first, *others = node.input
            return [context.deferred(first), *map(context.scaled, others)], pending[0]
        case Homogeneity.EACH_INPUT:
            inputs = [context.deferred(name) for name in node.input]
            return inputs, _product([one for one in pending if one is not None])
        case Homogeneity.JOINT:
            return _joined(context, node, pending)
        case _:
            return [context.scaled(name) for name in node.input], None


def _product(pending: Sequence[PendingScale]) -> PendingScale | None:
    """Return the product of some pending scales; None for none."""
    if not pending:
        return None
    layers = tuple(sorted(index for one in pending for index in one.layers))
    return PendingScale(layers, (), sum(one.depth for one in pending))


def _joined(
    context: SweepContext, node: onnx.NodeProto, pending: Sequence[PendingScale | None]
) -> tuple[list[str], PendingScale | None]:
    """Bring all inputs to the first one's pending scale; scale all where one is scaled."""
    common = pending[0]
    if common is None or None in pending:
        return [context.scaled(name) for name in node.input], None
    names = []
    depth = common.depth
    for name, own in zip(node.input, pending, strict=True):
        value = context.deferred(name)
        if own is not None and own.layers != common.layers:
            scales = context.scales
            ratio = scales.combined_scale(own.layers) / scales.combined_scale(common.layers)
            rounded = ratio.rounded(context.swept.dtype(common.layers[0]))
            value = context.builder.node("Mul", [value, rounded])
            depth = max(depth, own.depth)
        names.append(value)
    return names, PendingScale(common.layers, (), depth)
