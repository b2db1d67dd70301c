"""From what a sweep measured to the scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.moments import (
    NUMPY,
    Float64Array,
    Moments,
    closed_form_factor,
    failure_of,
)
from lsuv_cli.core.records import Plan, Reading, Readings


@dataclass(frozen=True, slots=True)
class Solution:
    """What is to be done with one layer's weight.

    Attributes:
        moments: of the layer's product with its pre-initialised weight, all layers before it
            being scaled.
        scale: () or (c,) float64, positive: final weight over the weight that was measured.
        failure: the status and reason where no scale gives the layer its target; `scale` is 1.
    """

    moments: Moments
    scale: Float64Array
    failure: tuple[Status, str] | None


@dataclass(frozen=True, slots=True)
class Solutions:
    """What follows from one sweep.

    Attributes:
        layers: for each swept layer's index what is to be done with its weight.
        norms: for each normalisation's index the moments of what it normalises.
    """

    layers: Mapping[int, Solution]
    norms: Mapping[int, Moments]


def solve(plan: Plan, readings: Readings, biases: Mapping[int, Float64Array]) -> Solutions:
    """Every swept layer's scale, in closed form.

    A layer was measured on unscaled values, which the factors of the layers in
    `Reading.incoming`, multiplied, make true. Its own factor p brings the measured product to the
    target, so its scale is p over that product.

    Args:
        plan: the layers and their targets.
        readings: what the sweep measured, for each swept layer's index, in execution order.
        biases: for layers whose bias is kept the (c,) that it adds.
    """
    per_channel = plan.per is Per.CHANNEL
    factors: dict[int, Float64Array] = {}
    solutions: dict[int, Solution] = {}
    for index, reading in readings.layers.items():
        planned = plan.layers[index]
        incoming, moments = _true(reading, factors)
        bias = biases.get(index)
        centred = planned.centres
        failure = failure_of(
            moments, bias, planned.target_std, per_channel=per_channel, centred=centred
        )
        if planned.first_use != index:
            first = solutions.get(planned.first_use)
            # Where an earlier segment has scaled the weight, it was measured as it is.
            scale = first.scale if first is not None else np.asarray(1.0)
        elif failure is not None and failure[0] is not Status.ZERO_VARIANCE:
            scale = np.asarray(1.0)
        else:
            # A dead channel among living ones keeps its weight; the others are scaled.
            scale = closed_form_factor(
                moments.mean,
                moments.mean_square,
                bias,
                planned.target_std,
                1.0,
                NUMPY,
                per_channel=per_channel,
                centred=centred,
            )
        factors[index] = scale * incoming
        solutions[index] = Solution(moments, scale, failure)
    norms = {index: _true(reading, factors)[1] for index, reading in readings.norms.items()}
    return Solutions(solutions, norms)


def _true(reading: Reading, factors: Mapping[int, Float64Array]) -> tuple[Float64Array, Moments]:
    """The factor that makes a reading true, and the true moments."""
    incoming = np.asarray(math.prod(factors[i] for i in reading.incoming), np.float64)
    return incoming, reading.moments.scaled(incoming)


def damped(
    solutions: Mapping[int, Solution], previous: Mapping[int, Solution]
) -> dict[int, Solution]:
    """Halve steps that overshoot, in the logarithm.

    A weight that is read twice on the way to a layer's output has its scale squared there: full
    steps would go to and fro for ever, and half steps arrive at once.

    Args:
        solutions: this sweep's.
        previous: those of the sweep before; empty for the first.
    """
    result = dict(solutions)
    for index, solution in solutions.items():
        if index in previous:
            step, before = np.log(solution.scale), np.log(previous[index].scale)
            overshoots = (step * before < 0) & (np.abs(step) > np.abs(before) / 2)
            scale = np.where(overshoots, np.sqrt(solution.scale), solution.scale)
            result[index] = replace(solution, scale=scale)
    return result
