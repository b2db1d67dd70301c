"""The graph that counts histograms of outputs, and the active share of activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto

from lsuv_cli.core.indices import LayerIndex, TapKey, activation_tap, layer_tap
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.measurements import InstrumentedGraph, Tap
from lsuv_cli.core.moments import Float64Array
from lsuv_cli.core.records import Specs
from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.graph.topology import needed_nodes
from lsuv_cli.instrument.close import add_parameters, instrumented
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.instrument.taps import add_count_output, add_tap, layer_axes
from lsuv_cli.layers.activations import add_active
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.reading.model import OnnxModel

# The approximate number of elements of each batch's output that are sorted into bins.
BINNED_ELEMENTS = 1 << 16

SLICE_STEPS_OPSET = 10


def distribution_graph(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    weights: Mapping[str, FloatArray],
    segments: Sequence[Segment],
    feeds: Specs,
    edges: Mapping[LayerIndex, Float64Array],
    activations: Mapping[LayerIndex, onnx.NodeProto],
) -> InstrumentedGraph:
    """Build the model's own graph with taps behind some layers and activations.

    The mean of a layer's tap is the share of its elements below each edge; that of an activation's
    tap, where it has flat parts, is the share of active elements in each channel.

    Args:
        model: the model.
        layer_nodes: its layers, in execution order.
        weights: a value for each floating-point initializer.
        segments: the part of the model to run: a segment, after others that are run again.
        feeds: the graph's inputs.
        edges: for each layer to look at, its histogram's bounds.
        activations: for each layer whose activation to look at, the activation.
    """
    builder = GraphBuilder(model.opset)
    made = sorted(segments[-1].leaving & {name for one in segments for name in one.makes()})
    wanted = [layer_nodes[index].layer.output for index in edges]
    wanted += [node.output[0] for node in activations.values()]
    nodes = [node for segment in segments for node in segment.nodes]
    builder.nodes += needed_nodes(nodes, [*wanted, *made])
    add_parameters(builder, builder.nodes, weights)
    taps: dict[TapKey, Tap] = {}
    for index, bounds in edges.items():
        layer = layer_nodes[index].layer
        dtype = model.weight_values[layer.weight_value].dtype
        shares = _shares_below(builder, layer.output, bounds.astype(dtype))
        taps[layer_tap(index)] = _tap(
            builder, layer_nodes[index], layer.output, shares, bounds.size
        )
    for index, node in activations.items():
        layer = layer_nodes[index].layer
        active = add_active(builder, node, model.weight_values[layer.weight_value].dtype)
        if active is not None:
            moments = add_tap(builder, layer_axes(layer_nodes[index]), active, centred=False)
            shares, channels = builder.halves(moments.name)[0], layer.layout.out_channels
            taps[activation_tap(index)] = _tap(
                builder, layer_nodes[index], active, shares, channels
            )
    return instrumented(builder, model, feeds, taps, carried={name: name for name in made})


def _tap(builder: GraphBuilder, layer_node: LayerNode, value: str, means: str, size: int) -> Tap:
    """Return a tap of a value of a layer's shape; its second row is not read."""
    both = builder.node("Concat", [means, means], axis=0)
    output = builder.node("Reshape", [both, builder.constant([2, size])])
    channels = layer_node.layer.layout.out_channels
    counted = layer_node.has_data_dependent_size
    count = add_count_output(builder, value, channels) if counted else ""
    return Tap(output, (), size, count)


def _shares_below(builder: GraphBuilder, value: str, edges: FloatArray) -> str:
    """Append the share of a value's elements below each edge, (edges,) float64."""
    flat = builder.node("Reshape", [value, builder.constant([-1])])
    if builder.opset >= SLICE_STEPS_OPSET:
        # An odd step, so that it meets every column and channel alike.
        half = builder.node(
            "Div", [builder.node("Shape", [flat]), builder.constant([2 * BINNED_ELEMENTS])]
        )
        even = builder.node("Mul", [half, builder.constant([2])])
        step = builder.node("Add", [even, builder.constant([1])])
        bounds = [builder.constant([0]), builder.constant([np.iinfo(np.int64).max])]
        flat = builder.node("Slice", [flat, *bounds, builder.constant([0]), step])
    row = builder.node("Reshape", [flat, builder.constant([1, -1])])
    below = builder.node("Less", [row, builder.constant(edges.reshape(-1, 1))])
    shares = builder.reduce_mean(builder.node("Cast", [below], to=TensorProto.FLOAT), [1])
    return builder.node("Cast", [shares], to=TensorProto.DOUBLE)
