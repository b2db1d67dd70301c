"""From what a sweep measured to the scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lsuv_cli.core.choices import Bias, Per, Status
from lsuv_cli.core.moments import (
    NUMPY,
    Float64Array,
    Moments,
    closed_form_factor,
    failure_of,
)
from lsuv_cli.core.records import Plan, PlannedLayer, Reading, Readings


@dataclass(frozen=True, slots=True)
class Solution:
    """What was found at one layer.

    Attributes:
        moments: of the layer's product with the weight as it was, all layers before it being
            scaled.
        failure: the status and reason where no scale gives the layer its target.
    """

    moments: Moments
    failure: tuple[Status, str] | None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a layer whose product has been measured, as long as it is handed on.

    Attributes:
        factor: what makes its product true, () or (c,).
        mean: (c,) the mean of each channel of the product, not multiplied by that.
    """

    factor: Float64Array
    mean: Float64Array


@dataclass(frozen=True, slots=True)
class Solutions:
    """What follows from one sweep of a segment.

    Attributes:
        layers: for each swept layer's index what was found there.
        scales: for each weight, told by the index of its first use, () or (c,) float64, positive:
            final weight over the weight that was measured; 1 where no scale was found.
        homes: for each weight the index of the use that decided its scale.
        settled: for each weight 1 where its scale is decided and 0 elsewhere, like its scale.
        norms: for each normalisation's index the moments of what it normalises.
        known: what is known of each layer that has been measured so far.
        outputs: for each measured layer's index the moments that its output has with the scales
            and biases that were found, as long as the node adds nothing else.
    """

    layers: Mapping[int, Solution]
    scales: Mapping[int, Float64Array]
    homes: Mapping[int, int]
    settled: Mapping[int, Float64Array]
    norms: Mapping[int, Moments]
    known: Mapping[int, Known]
    outputs: Mapping[int, Moments]


def solve(
    plan: Plan,
    readings: Readings,
    biases: Mapping[int, Float64Array],
    settled: Mapping[int, Float64Array],
    known: Mapping[int, Known],
) -> Solutions:
    """Every swept layer's scale, in closed form.

    A layer was measured on unscaled values, which the factors of the layers in
    `Reading.incoming`, multiplied, make true. Its own factor p brings the measured product to the
    target, so its scale is p over that product. A weight that is used several times is scaled at
    the first use whose output varies: that of a recurrent one on its initial state of zeros does
    not.

    Args:
        plan: the layers and their targets.
        readings: what the sweep measured, for each swept layer's index, in execution order; of
            layers that are not swept, the moments of their output.
        biases: for layers whose bias is kept the (c,) that it adds.
        settled: `Solutions.settled` of the segments before; their weights were measured as they
            are going to stay.
        known: `Solutions.known` of the segments before.
    """
    per_channel = plan.per is Per.CHANNEL
    factors = {index: layer.factor for index, layer in known.items()}
    known = dict(known)
    solutions: dict[int, Solution] = {}
    scales: dict[int, Float64Array] = dict(settled)
    homes: dict[int, int] = {}
    used: set[int] = set()
    outputs: dict[int, Moments] = {}
    for index, reading in readings.layers.items():
        planned = plan.layers[index]
        first = planned.first_use
        incoming, moments = _true(reading, factors)
        if not planned.swept:
            outputs[index] = moments
            continue
        bias = biases.get(index)
        centred = planned.centres
        failure = failure_of(
            moments, bias, planned.target_std, per_channel=per_channel, centred=centred
        )
        own = closed_form_factor(
            moments.mean,
            moments.mean_square,
            bias,
            planned.target_std,
            0.0,
            NUMPY,
            per_channel=per_channel,
            centred=centred,
        )
        before = scales.get(first, np.zeros_like(own))
        scales[first] = np.where(before > 0, before, own)
        used.add(first)
        if np.any(scales[first] != before):
            homes[first] = index
        factors[index] = _applied(scales[first]) * incoming
        known[index] = Known(factors[index], reading.moments.mean)
        solutions[index] = Solution(moments, failure)
        outputs[index] = _output(planned, moments.scaled(_applied(scales[first])), bias)
    norms = {index: _true(reading, factors)[1] for index, reading in readings.norms.items()}
    return Solutions(
        solutions,
        {first: _applied(scales[first]) for first in sorted(used)},
        homes,
        {first: (scale > 0).astype(np.float64) for first, scale in scales.items()},
        norms,
        known,
        outputs,
    )


def _output(planned: PlannedLayer, product: Moments, bias: Float64Array | None) -> Moments:
    """What a layer's scaled product measures with the bias added that it will have."""
    if bias is not None:
        return product.shifted(bias)
    if planned.bias is not Bias.CENTER or planned.layer.bias is None:
        return product
    return product.shifted(-product.mean if planned.centres else -product.mean.mean())


def _applied(scale: Float64Array) -> Float64Array:
    """A scale, or 1 where none was found: a dead channel among living ones keeps its weight."""
    return np.where(scale > 0, scale, 1.0)


def _true(reading: Reading, factors: Mapping[int, Float64Array]) -> tuple[Float64Array, Moments]:
    """The factor that makes a reading true, and the true moments."""
    incoming = np.asarray(math.prod(factors[i] for i in reading.incoming), np.float64)
    return incoming, reading.moments.scaled(incoming)


def damped(
    scales: Mapping[int, Float64Array], previous: Mapping[int, Float64Array]
) -> dict[int, Float64Array]:
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
