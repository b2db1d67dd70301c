"""How each layer ended."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import LayerResult, Plan
from lsuv_cli.core.solve import Solution


def layer_results(
    plan: Plan,
    scales: Mapping[int, Float64Array],
    solutions: Mapping[int, Solution],
    before: Mapping[int, Moments],
    after: Mapping[int, Moments],
    *,
    tol: float,
    iterations: int,
) -> list[LayerResult]:
    """Every layer's status, from what was solved and what was measured.

    Args:
        plan: the layers and their targets.
        scales: for each swept layer's index the scale of all iterations together.
        solutions: the last iteration's.
        before: what the model's own weights gave; may be empty.
        after: what the written weights gave; may be empty, and then the closed form is trusted.
        tol: tolerated |Var / target_std^2 - 1|; what the weight's own dtype allows, if that is
            more.
        iterations: sweeps so far.
    """
    results = []
    per_channel = plan.per is Per.CHANNEL
    for index, planned in enumerate(plan.layers):
        status, detail = Status.CONVERGED, ""
        measured = after.get(index)
        if planned.skipped is not None:
            status, detail = planned.skipped_status, planned.skipped
        elif (failure := _failure(solutions, index)) is not None:
            status, detail = failure
        elif planned.first_use != index:
            status = Status.SHARED
            detail = f"scaled at {plan.layers[planned.first_use].layer.name}"
        elif measured is not None:
            deviation = measured.deviation(planned.target_std, per_channel=per_channel)
            # The negation also holds where the deviation is not a number.
            if not deviation <= max(tol, PRECISION.get(planned.layer.dtype.name, 0.0)):
                status = Status.MAX_ITERATIONS
                detail = f"off by {deviation:.2g} after {iterations} sweeps"
        results.append(
            LayerResult(
                planned=planned,
                status=status,
                detail=detail,
                scale=np.asarray(scales.get(planned.first_use, 1.0), np.float64),
                iterations=iterations if planned.skipped is None else 0,
                before=before.get(index),
                after=measured,
            )
        )
    return results


# The distance from 1 to the next number. Rounding moves each weight by half of it at most, and the
# variance by twice its weights' relative error.
PRECISION = {"float16": 2**-10, "bfloat16": 2**-7}


def _failure(solutions: Mapping[int, Solution], index: int) -> tuple[Status, str] | None:
    return solutions[index].failure if index in solutions else None
