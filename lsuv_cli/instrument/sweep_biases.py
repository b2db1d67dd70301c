"""A layer's bias in the graph of a sweep, added to the unscaled product."""

from __future__ import annotations

import numpy as np

from lsuv_cli.core.choices import Bias
from lsuv_cli.core.indices import LayerIndex
from lsuv_cli.graph.builder import GRAPH
from lsuv_cli.instrument.sweep_context import SweepContext, channel_shape


def add_bias(context: SweepContext, index: LayerIndex) -> None:
    """Append the bias that a layer will have, or another addend of its node.

    Raises:
        ScaleUnknownError: a scale is needed for it that is not known yet.
    """
    layer_node = context.swept.layer_nodes[index]
    product = layer_node.node.output[0]
    if layer_node.layer.bias_value is None:
        context.values.set(product, _with_addend(context, index), None)
        return
    pending = context.values.pending_scale(product)
    output = _with_bias(context, index, context.values.unscaled(product))
    context.values.set(layer_node.layer.output, output, pending)


def _with_bias(context: SweepContext, index: LayerIndex, product: str) -> str:
    """Add the bias to the unscaled product, divided by the scale that is pending on it."""
    layer_node, planned = context.swept.layer_nodes[index], context.swept.plan.layers[index]
    kept = context.scales.kept_bias(index)
    if kept is not None:
        addend = kept / context.scales.pending_scale(index)
    elif planned.bias is Bias.CENTER:
        mean = context.scales.mean_of(index)
        if not planned.centres:
            # One bias for all channels can only centre the blob.
            scale = context.scales.pending_scale(index)
            mean = mean * 0.0 + GRAPH.mean(mean * scale) / scale
        addend = mean * -1.0
    else:
        return product
    rounded = addend.rounded(context.swept.dtype(index), channel_shape(layer_node))
    return context.builder.node("Add", [product, rounded])


def _with_addend(context: SweepContext, index: LayerIndex) -> str:
    """Add what the node itself adds but is no bias of its own; to the scaled product only."""
    layer_node, builder = context.swept.layer_nodes[index], context.builder
    addend = context.scaled(layer_node.addend)
    if layer_node.addend_factor != 1.0:
        factor = np.asarray(layer_node.addend_factor, context.swept.dtype(index))
        addend = builder.node("Mul", [addend, builder.constant(factor)])
    if layer_node.layer.layout.is_convolution:
        addend = builder.node("Reshape", [addend, builder.constant(channel_shape(layer_node))])
    return builder.node("Add", [context.scaled(layer_node.node.output[0]), addend])
