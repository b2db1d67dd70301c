"""From what a sweep measured to the scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lsuv_cli.core.choices import Bias, Status
from lsuv_cli.core.indices import LayerIndex, NormIndex, WeightIndex
from lsuv_cli.core.mathematics import NUMPY
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import Measurement, Measurements, Plan, PlannedLayer
from lsuv_cli.core.scale_rule import Product, failure_of


@dataclass(frozen=True, slots=True)
class LayerSolution:
    """What was found at one layer.

    Attributes:
        moments: of the layer's product with the weight as it was, all layers before it being
            scaled.
        failure: the status and reason where no scale gives the layer its target.
    """

    moments: Moments
    failure: tuple[Status, str] | None


@dataclass(frozen=True, slots=True)
class MeasuredProduct:
    """The unscaled product of a layer, once all samples have been measured.

    Attributes:
        pending_scale: () or (c,): the unscaled product times this is the scaled one.
        mean: (c,) the mean of each channel of the unscaled product.
    """

    pending_scale: Float64Array
    mean: Float64Array


@dataclass(frozen=True, slots=True)
class SegmentSolution:
    """What follows from one sweep of a segment.

    Attributes:
        layers: for each swept layer's index what was found there.
        scales: for each weight, told by the index of its first use, () or (c,) float64, positive:
            final weight over the weight that was measured; 1 where no scale was found.
        scaled_at: for each weight the index of the use that decided its scale.
        scale_is_final: for each weight 1 where its scale is final and 0 elsewhere, like its scale.
        norms: for each normalisation's index the moments of what it normalises.
        products: the measured product of each layer so far.
        outputs: for each measured layer's index the moments that its output has with the scales
            and biases that were found, as long as the node adds nothing else.
    """

    layers: Mapping[LayerIndex, LayerSolution]
    scales: Mapping[WeightIndex, Float64Array]
    scaled_at: Mapping[WeightIndex, LayerIndex]
    scale_is_final: Mapping[WeightIndex, Float64Array]
    norms: Mapping[NormIndex, Moments]
    products: Mapping[LayerIndex, MeasuredProduct]
    outputs: Mapping[LayerIndex, Moments]


def solve(
    plan: Plan,
    readings: Measurements,
    biases: Mapping[LayerIndex, Float64Array],
    scale_is_final: Mapping[WeightIndex, Float64Array],
    products: Mapping[LayerIndex, MeasuredProduct],
) -> SegmentSolution:
    """Every swept layer's scale, in closed form.

    A layer was measured on unscaled values: their pending scale is the product of those of the
    layers in `Measurement.pending_layers`. Its own pending scale p brings the measured product to
    the target, so the scale of its weight is p over that product. A weight that is used several
    times is scaled at the first use whose output varies: that of a recurrent one on its initial
    state of zeros does not.

    Args:
        plan: the layers and their targets.
        readings: what the sweep measured, for each swept layer's index, in execution order; of
            layers that are not swept, the moments of their output.
        biases: for layers whose bias is kept the (c,) that it adds.
        scale_is_final: that of the segments before; their weights were measured as they are going
            to stay.
        products: the measured products of the segments before.
    """
    pending = {index: product.pending_scale for index, product in products.items()}
    products = dict(products)
    solutions: dict[LayerIndex, LayerSolution] = {}
    scales: dict[WeightIndex, Float64Array] = dict(scale_is_final)
    scaled_at: dict[WeightIndex, LayerIndex] = {}
    used: set[WeightIndex] = set()
    outputs: dict[LayerIndex, Moments] = {}
    for index, reading in readings.layers.items():
        planned = plan.layers[index]
        first = planned.first_use
        incoming, moments = _scaled(reading, pending)
        if not planned.swept:
            outputs[index] = moments
            continue
        bias = biases.get(index)
        target = plan.target(index)
        failure = failure_of(plan.rule, moments, bias, target)
        product = Product(moments.mean, moments.mean_square, bias)
        own = plan.rule.scale(product, target, 0.0, NUMPY)
        before = scales.get(first, np.zeros_like(own))
        scales[first] = np.where(before > 0, before, own)
        used.add(first)
        if np.any(scales[first] != before):
            scaled_at[first] = index
        pending[index] = _applied(scales[first]) * incoming
        products[index] = MeasuredProduct(pending[index], reading.moments.mean)
        solutions[index] = LayerSolution(moments, failure)
        outputs[index] = _output(planned, moments.scaled(_applied(scales[first])), bias)
    norms = {index: _scaled(reading, pending)[1] for index, reading in readings.norms.items()}
    return SegmentSolution(
        solutions,
        {first: _applied(scales[first]) for first in sorted(used)},
        scaled_at,
        {first: (scale > 0).astype(np.float64) for first, scale in scales.items()},
        norms,
        products,
        outputs,
    )


def _output(planned: PlannedLayer, product: Moments, bias: Float64Array | None) -> Moments:
    """What a layer's scaled product measures with the bias added that it will have."""
    if bias is not None:
        return product.shifted(bias)
    if planned.bias is not Bias.CENTER or planned.layer.bias_value is None:
        return product
    return product.shifted(-product.mean if planned.centres else -product.mean.mean())


def _applied(scale: Float64Array) -> Float64Array:
    """A scale, or 1 where none was found: a dead channel among living ones keeps its weight."""
    return np.where(scale > 0, scale, 1.0)


def _scaled(
    reading: Measurement, pending: Mapping[LayerIndex, Float64Array]
) -> tuple[Float64Array, Moments]:
    """Return the pending scale of a measured value, and the moments of the scaled value."""
    incoming = np.asarray(math.prod(pending[i] for i in reading.pending_layers), np.float64)
    return incoming, reading.moments.scaled(incoming)


def damp_overshoots(
    scales: Mapping[WeightIndex, Float64Array], previous: Mapping[WeightIndex, Float64Array]
) -> dict[WeightIndex, Float64Array]:
    """Halve steps that overshoot, in the logarithm.

    A weight that is read twice on the way to a layer's output has its scale squared there: full
    steps would go to and fro for ever, and half steps arrive at once.

    Args:
        scales: this sweep's, by the weight's first use.
        previous: those of the sweep before; empty for the first.
    """
    result = dict(scales)
    for first, scale in scales.items():
        if first in previous:
            step, before = np.log(scale), np.log(previous[first])
            overshoots = (step * before < 0) & (np.abs(step) > np.abs(before) / 2)
            result[first] = np.where(overshoots, np.sqrt(scale), scale)
    return result
