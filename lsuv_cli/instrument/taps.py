"""Taps: nodes that reduce a layer's output to its moments inside the graph."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import TensorProto

from lsuv_cli.core.indices import LayerIndex
from lsuv_cli.core.measurements import Tap
from lsuv_cli.graph.builder import GraphBuilder, GraphValue
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import NormNode


@dataclass(frozen=True, slots=True)
class Axes:
    """The position of a tapped value's channels.

    Attributes:
        channels: their number.
        channel_axis: their axis, counted from the end.
        pooled: whether the axes are (sample, channel, at least one more), in float32, which
            ONNX Runtime pools without leaving its blocked layout.
    """

    channels: int
    channel_axis: int
    pooled: bool


def layer_axes(layer_node: LayerNode) -> Axes:
    """Return the axes of a layer's output."""
    layout = layer_node.layer.layout
    return Axes(layout.out_channels, layer_node.channel_axis, layout.is_convolution)


def add_layer_tap(
    builder: GraphBuilder,
    layer_node: LayerNode,
    value: str,
    pending_layers: tuple[LayerIndex, ...] = (),
    *,
    centred: bool,
) -> tuple[GraphValue, Tap]:
    """Tap a layer's product or output; see `add_tap`.

    Args:
        builder: the graph.
        layer_node: the layer.
        value: the value to measure.
        pending_layers: see `Tap`.
        centred: see `add_tap`.

    Returns:
        The moments as a value of the graph, and the outputs that hold them.
    """
    moments = add_tap(builder, layer_axes(layer_node), value, centred=centred)
    channels = layer_node.layer.layout.out_channels
    output = add_moments_output(builder, moments, channels)
    count = ""
    if layer_node.has_data_dependent_size:
        count = add_count_output(builder, value, channels)
    return moments, Tap(output, pending_layers, channels, count)


def add_norm_tap(
    builder: GraphBuilder, norm: NormNode, value: str, *, pooled: bool, centred: bool
) -> GraphValue:
    """Tap what a normalisation takes in, (n, c, ...) of any rank; see `add_tap`."""
    if norm.has_data_dependent_size:
        # Of no rows at all, no size could be inferred.
        rest = builder.node("Shape", [builder.node("Flatten", [value], axis=2)])
        sizes = [
            builder.node("Gather", [builder.node("Shape", [value]), builder.constant([0, 1])]),
            builder.node("Gather", [rest, builder.constant([1])]),
        ]
        shape = builder.node("Concat", sizes, axis=0)
    else:
        shape = builder.constant([0, 0, -1])
    planes = builder.node("Reshape", [value, shape])
    return add_tap(builder, Axes(norm.channels, -2, pooled), planes, centred=centred)


def add_tap(builder: GraphBuilder, axes: Axes, value: str, *, centred: bool) -> GraphValue:
    """Append the nodes that compute a value's mean and mean square in each channel.

    Planes (one sample's channel of a convolution, a channel's column elsewhere) are reduced in
    the value's own precision, then all planes of a channel in float64. A whole blob reduced in
    float32 would leave errors of 1e-3 in the variance.

    Args:
        builder: the graph.
        axes: the value's axes.
        value: the value to measure.
        centred: reduce (x - mean)^2, in a second pass, instead of x^2. The one-pass form stays
            inside ONNX Runtime's blocked layout for convolutions and so costs less, but it loses
            digits where the mean is large compared with the standard deviation.

    Returns:
        (2 c,) float64: c means, then c mean squares.
    """
    if not axes.pooled and axes.channel_axis == -1:
        value = builder.node("Reshape", [value, builder.constant([-1, axes.channels])])
    mean = _plane_mean(builder, axes, value)
    deviations = builder.node("Sub", [value, mean]) if centred else value
    square = _plane_mean(builder, axes, builder.node("Mul", [deviations, deviations]))
    channel_axis = 1
    other_axes = [axis for axis in range(1 - axes.channel_axis) if axis != channel_axis]
    if not axes.pooled:
        # (..., c, 1) or (1, c): bring every rank to (planes, c).
        flat = builder.constant([-1, axes.channels])
        mean, square = (builder.node("Reshape", [x, flat]) for x in (mean, square))
        other_axes = [0]
    if not centred:
        planes = _as_float64(builder, builder.node("Concat", [mean, square], axis=channel_axis))
    else:
        means = _as_float64(builder, mean)
        squares = _as_float64(builder, square) + means * means
        joined = builder.node("Concat", [means.name, squares.name], axis=channel_axis)
        planes = GraphValue(builder, joined)
    return GraphValue(builder, builder.reduce_mean(planes.name, other_axes))


def add_moments_output(builder: GraphBuilder, moments: GraphValue, channels: int) -> str:
    """Append the output that holds a value's moments, (2, c); return its name.

    It is a node that nothing else reads, so that these nodes run in the order of the layers.
    """
    return builder.node("Reshape", [moments.name, builder.constant([2, channels])])


def add_count_output(builder: GraphBuilder, value: str, channels: int) -> str:
    """Append the output that holds the number of elements in each channel; return its name."""
    size = builder.node("Size", [value])
    return builder.node("Div", [size, builder.scalar(channels)])


def _plane_mean(builder: GraphBuilder, axes: Axes, value: str) -> str:
    """Return the mean of each plane; the reduced axes stay, with size 1."""
    if axes.pooled:
        return builder.node("GlobalAveragePool", [value])
    return builder.reduce_mean(value, [0 if axes.channel_axis == -1 else -1], keepdims=True)


def _as_float64(builder: GraphBuilder, value: str) -> GraphValue:
    return GraphValue(builder, builder.node("Cast", [value], to=TensorProto.DOUBLE))
