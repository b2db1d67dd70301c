"""Taps: nodes that reduce a layer's output to its moments inside the graph."""

from __future__ import annotations

from onnx import TensorProto

from lsuv_cli.model.graph_builder import GraphBuilder, GraphValue
from lsuv_cli.model.layers import LayerSite


def add_tap(builder: GraphBuilder, site: LayerSite, value: str, *, centred: bool) -> GraphValue:
    """Append the nodes that compute a value's mean and mean square in each channel.

    Planes (one sample's channel of a convolution, a channel's column elsewhere) are reduced in
    float32, then all planes of a channel in float64. A whole blob reduced in float32 would leave
    errors of 1e-3 in the variance.

    Args:
        builder: the graph.
        site: the layer; `value` is its output, with or without its bias, possibly scaled.
        value: the value to measure.
        centred: reduce (x - mean)^2, in a second pass, instead of x^2. The one-pass form stays
            inside ONNX Runtime's blocked layout for convolutions and so costs less, but it loses
            digits where the mean is large beside the deviation.

    Returns:
        (2 c,) float64: c means, then c mean squares.
    """
    channels = site.layer.layout.out_channels
    if not site.layer.layout.is_convolution and site.channel_axis == -1:
        value = builder.node("Reshape", [value, builder.constant([-1, channels])])
    mean = _plane_mean(builder, site, value)
    deviations = builder.node("Sub", [value, mean]) if centred else value
    square = _plane_mean(builder, site, builder.node("Mul", [deviations, deviations]))
    channel_axis = 1
    other_axes = [axis for axis in range(1 - site.channel_axis) if axis != channel_axis]
    if not site.layer.layout.is_convolution:
        # (..., c, 1) or (1, c): bring every rank to (planes, c).
        flat = builder.constant([-1, channels])
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


def add_reading(builder: GraphBuilder, moments: GraphValue, channels: int) -> str:
    """Append what is fetched of a layer, (2, c); return its name.

    A node that nothing else reads from, so that the order of these is the order of the layers.
    """
    return builder.node("Reshape", [moments.name, builder.constant([2, channels])])


def _plane_mean(builder: GraphBuilder, site: LayerSite, value: str) -> str:
    """The mean of each plane; the reduced axes stay, with size 1."""
    if site.layer.layout.is_convolution:
        # Convolutions are always computed in float32, the only type this operator has.
        return builder.node("GlobalAveragePool", [value])
    return builder.reduce_mean(value, [0 if site.channel_axis == -1 else -1], keepdims=True)


def _as_float64(builder: GraphBuilder, value: str) -> GraphValue:
    return GraphValue(builder, builder.node("Cast", [value], to=TensorProto.DOUBLE))
