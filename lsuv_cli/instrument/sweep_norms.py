"""Batch normalisations in the graph of a sweep: they use the samples' own statistics."""

from __future__ import annotations

import numpy as np

from lsuv_cli.core.indices import NormIndex, norm_tap
from lsuv_cli.core.measurements import Tap
from lsuv_cli.graph.builder import GRAPH
from lsuv_cli.instrument.sweep_context import SweepContext
from lsuv_cli.instrument.taps import add_count_output, add_moments_output, add_norm_tap


def measure_norm(context: SweepContext, index: NormIndex) -> None:
    """Measure a normalisation's input, whatever scale is pending on it."""
    norm, builder = context.swept.norms[index], context.builder
    incoming = context.values.deferrable_scale(norm.node.input[0])
    x = context.deferred(norm.node.input[0])
    dtype = context.swept.model.weight_values[norm.running_mean].dtype
    # Its input is often a convolution's product, which has been measured just before.
    moments = context.product_moments.get(x) or add_norm_tap(
        builder, norm, x, pooled=dtype == np.float32, centred=context.segment.cautious
    )
    output = add_moments_output(builder, moments, norm.channels)
    layers = incoming.layers if incoming else ()
    count = add_count_output(builder, x, norm.channels) if norm.has_data_dependent_size else ""
    context.taps[norm_tap(index)] = Tap(output, layers, norm.channels, count)
    context.scales.norm_moments[index] = builder.halves(moments.name)


def normalise(context: SweepContext, index: NormIndex) -> None:
    """Normalise with the statistics of the input, whatever scale is pending on it.

    With mean m and variance v of the scaled value, on which a scale s is pending as x:
    y = scale (x - m / s) s / sqrt(v + epsilon) + shift.

    Raises:
        ScaleUnknownError: the statistics, or the scale, are not known yet.
    """
    norm, builder = context.swept.norms[index], context.builder
    known = context.state.norms.get(index)
    mean, square = context.scales.norm_mean_and_square(index, known)
    incoming = context.values.deferrable_scale(norm.node.input[0])
    pending = context.scales.combined_scale(incoming.layers) if incoming else None
    if pending and known is None:
        mean, square = mean * pending, square * pending * pending
    x = context.deferred(norm.node.input[0])
    dtype = context.swept.model.weight_values[norm.running_mean].dtype
    variance = square - mean * mean
    variance = GRAPH.where_greater(variance, 0.0, variance, 0.0)
    gain = 1.0 / GRAPH.sqrt(variance + norm.epsilon)
    if pending:
        gain, mean = gain * pending, mean / pending
    scale = context.scaled(norm.scale)
    parts = [
        builder.node("Mul", [scale, gain.rounded(dtype)]),
        context.scaled(norm.shift),
        mean.rounded(dtype),
        builder.constant(np.ones(norm.channels, dtype)),
    ]
    builder.node("BatchNormalization", [x, *parts], name=norm.node.output[0], epsilon=0.0)
