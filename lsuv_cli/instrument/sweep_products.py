"""A layer's product in the graph of a sweep: it is made unscaled, and measured."""

from __future__ import annotations

import numpy as np

from lsuv_cli.core.choices import Per
from lsuv_cli.core.indices import LayerIndex, layer_tap
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.instrument.state import PendingScale
from lsuv_cli.instrument.sweep_context import SweepContext, channel_shape
from lsuv_cli.instrument.taps import add_layer_tap


def add_product(context: SweepContext, index: LayerIndex) -> None:
    """Append a layer's product, without its bias, and measure it; its scale is pending then.

    A layer of a segment that is run again has its final weight: its product is scaled already.
    """
    layer_node = context.swept.layer_nodes[index]
    name = layer_node.node.output[0]
    incoming = context.values.deferrable_scale(layer_node.data)
    is_final = index in context.state.products
    product = _append_product(context, index, is_final=is_final)
    if is_final:
        context.values.set(name, product, None)
        return
    _measure(context, index, product, incoming)
    shape = channel_shape(layer_node) if context.swept.plan.per is Per.CHANNEL else ()
    depth = incoming.depth + 1 if incoming else 1
    context.values.set(name, product, PendingScale((index,), shape, depth))


def _append_product(context: SweepContext, index: LayerIndex, *, is_final: bool) -> str:
    layer_node, builder = context.swept.layer_nodes[index], context.builder
    product = builder.new_name("product")
    factors, others = layer_node.product_inputs[:2], layer_node.product_inputs[2:]
    inputs = [context.scaled(name) if is_final else context.deferred(name) for name in factors]
    inputs += [context.scaled(name) for name in others]
    if builder.opset < operator_of(layer_node.node).optional_addend_opset:
        inputs.append(builder.constant(np.zeros(1, context.swept.dtype(index))))
    context.append(layer_node.node, inputs, [product])
    return product


def _measure(
    context: SweepContext, index: LayerIndex, product: str, incoming: PendingScale | None
) -> None:
    layer_node = context.swept.layer_nodes[index]
    pending = incoming.layers if incoming else ()
    moments, context.taps[layer_tap(index)] = add_layer_tap(
        context.builder, layer_node, product, pending, centred=context.segment.cautious
    )
    if layer_node.layer.layout.is_convolution:
        context.product_moments[product] = moments
    context.scales.add_measured(index, moments, pending)


def observe_output(context: SweepContext, index: LayerIndex) -> None:
    """Measure the output of a layer that is not swept."""
    layer_node = context.swept.layer_nodes[index]
    value = context.scaled(layer_node.layer.output)
    _, context.taps[layer_tap(index)] = add_layer_tap(
        context.builder, layer_node, value, centred=context.segment.cautious
    )
