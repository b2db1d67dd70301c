"""The result at each layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lsuv_cli.core.choices import Status
from lsuv_cli.core.indices import LayerIndex, WeightIndex, by_layer
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import Layer, LayerResult, Plan
from lsuv_cli.core.solve import LayerSolution


@dataclass
class Outcome:
    """The outcome of the sweeps, collected segment by segment.

    Attributes:
        layers: the solution of each swept layer in the last sweep.
        scaled_at: the layer that decided each weight's scale.
        scales: the scale of each weight, of all sweeps together.
        outputs: the moments of each measured layer's output after the last sweep; see
            `SegmentSolution`.
    """

    layers: dict[LayerIndex, LayerSolution] = field(default_factory=dict)
    scaled_at: dict[WeightIndex, LayerIndex] = field(default_factory=dict)
    scales: dict[WeightIndex, Float64Array] = field(default_factory=dict)
    outputs: dict[LayerIndex, Moments] = field(default_factory=dict)


def layer_results(
    plan: Plan,
    outcome: Outcome,
    before: Mapping[LayerIndex, Moments],
    after: Mapping[LayerIndex, Moments],
    *,
    tol: float,
    iterations: int,
) -> list[LayerResult]:
    """Return every layer's status and scale.

    Args:
        plan: the layers and their targets.
        outcome: the outcome of the sweeps.
        before: the moments with the model's own weights; may be empty.
        after: the moments with the written weights; may be empty, and then the closed form is
            trusted.
        tol: tolerated deviation from the target; that of the weight's dtype, if that is more.
        iterations: sweeps so far.
    """
    results = []
    for index, planned in by_layer(plan.layers):
        measured = after.get(index)
        deviation = None
        if measured is not None:
            deviation = plan.rule.deviation(measured, plan.target(index))
        status, detail = _status(plan, index, outcome, deviation, tol=tol, iterations=iterations)
        results.append(
            LayerResult(
                planned=planned,
                status=status,
                detail=detail,
                scale=np.asarray(outcome.scales.get(planned.first_use, 1.0), np.float64),
                iterations=iterations if planned.skipped is None else 0,
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
    # Another use of the weight has decided its scale, where this one's output does not vary.
    if failure is not None and (deciding_use == index or failure[0] is not Status.ZERO_VARIANCE):
        return failure
    if deciding_use != index:
        return Status.SHARED, f"scaled at {plan.layers[deciding_use].layer.name}"
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
