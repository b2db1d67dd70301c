"""The result at each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lsuv_cli.core.choices import Status
from lsuv_cli.core.indices import LayerIndex, WeightIndex, by_layer
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import Layer, LayerResult, Plan
from lsuv_cli.core.rounding import explained
from lsuv_cli.core.scale_rule import NO_SAMPLE, UNREACHED
from lsuv_cli.core.solve import LayerSolution

# The statuses that follow from how far a layer is from its target.
BY_DEVIATION = (Status.CONVERGED, Status.MAX_ITERATIONS)


@dataclass
class Outcome:
    """The outcome of the sweeps, collected segment by segment.

    Attributes:
        layers: the solution of each swept layer in the last sweep.
        scaled_at: the layer that decided each weight's scale.
        scales: the scale of each weight, of all sweeps together.
        outputs: the moments of each measured layer's output after the last sweep; see
            `SegmentSolution`.
        unreached: the weights that no sample reached in the last sweep at any of their uses, and
            that were not scaled before; they are as they were in the file.
    """

    layers: dict[LayerIndex, LayerSolution] = field(default_factory=dict)
    scaled_at: dict[WeightIndex, LayerIndex] = field(default_factory=dict)
    scales: dict[WeightIndex, Float64Array] = field(default_factory=dict)
    outputs: dict[LayerIndex, Moments] = field(default_factory=dict)
    unreached: set[WeightIndex] = field(default_factory=set)


def layer_results(
    plan: Plan,
    outcome: Outcome,
    before: Mapping[LayerIndex, Moments],
    after: Mapping[LayerIndex, Moments],
    *,
    tol: float,
    iterations: int,
    rounding: Mapping[LayerIndex, float] | None = None,
) -> list[LayerResult]:
    """Return every layer's status and scale.

    Args:
        plan: the layers and their targets.
        outcome: the outcome of the sweeps.
        before: the moments with the model's own weights; may be empty.
        after: the moments with the written weights; may be empty, and then the closed form is
            trusted. A layer that is missing among others has no output.
        tol: tolerated deviation from the target; that of the weight's dtype, if that is more.
        iterations: sweeps so far.
        rounding: by how much rounding alone moves the variance of each layer's output, relative to
            it; None where that was not measured.
    """
    results = []
    for index, planned in by_layer(plan.layers):
        measured = after.get(index)
        deviation = None
        if measured is not None:
            deviation = plan.rule.deviation(measured, plan.target(index))
        status, detail = _status(plan, index, outcome, deviation, tol=tol, iterations=iterations)
        if status in BY_DEVIATION and deviation is not None and rounding is not None:
            noise, tolerance = rounding.get(index, 0.0), tolerated(planned.layer, tol)
            status, detail = explained(deviation, noise, tolerance) or (status, detail)
        if after and measured is None and status is Status.CONVERGED:
            status, detail = UNREACHED
        is_left_alone = planned.skipped is not None or planned.first_use in outcome.unreached
        results.append(
            LayerResult(
                planned=planned,
                status=status,
                detail=detail,
                scale=np.asarray(outcome.scales.get(planned.first_use, 1.0), np.float64),
                iterations=0 if is_left_alone else iterations,
                before=before.get(index),
                after=measured,
                deviation=deviation,
            )
        )
    return results


def _status(
    plan: Plan,
    index: LayerIndex,
    outcome: Outcome,
    deviation: float | None,
    *,
    tol: float,
    iterations: int,
) -> tuple[Status, str]:
    planned = plan.layers[index]
    if planned.skipped is not None:
        return planned.skipped_status, planned.skipped
    if planned.layer.recurrent:
        return Status.UNSCALED, ""
    deciding_use = outcome.scaled_at.get(planned.first_use, LayerIndex(planned.first_use))
    failure = outcome.layers[index].failure if index in outcome.layers else None
    if planned.first_use in outcome.unreached:
        deciding_use, failure = index, UNREACHED
    # Another use of the weight has decided its scale, where this one's output does not vary or is
    # empty.
    is_excused = failure == UNREACHED or (
        failure is not None and failure[0] is Status.ZERO_VARIANCE
    )
    if failure is not None and (deciding_use == index or not is_excused):
        return failure
    if deciding_use != index:
        where = plan.layers[deciding_use].layer.name
        return Status.SHARED, f"scaled at {where}" + f"; {NO_SAMPLE} here" * (failure == UNREACHED)
    # The negation also holds where the deviation is not a number.
    if deviation is not None and not deviation <= tolerated(planned.layer, tol):
        return Status.MAX_ITERATIONS, f"off by {deviation:.2g} after {iterations} sweeps"
    return Status.CONVERGED, ""


# The distance from 1 to the next number. Rounding moves each weight by half of it at most, and the
# variance by twice its weights' relative error.
PRECISION = {"float16": 2**-10, "bfloat16": 2**-7}


def tolerated(layer: Layer, tol: float) -> float:
    """Return the deviation from its target up to which a layer has converged.

    Args:
        layer: the layer.
        tol: the deviation that the user tolerates; that of the weight's dtype, if that is more.
    """
    return max(tol, PRECISION.get(layer.dtype.name, 0.0))
