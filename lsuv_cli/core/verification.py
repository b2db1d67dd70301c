"""Results of `lsuv verify`: the layers' outputs with given weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsuv_cli.core.choices import Status
from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.indices import LayerIndex, by_layer
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Plan, PlannedLayer, RunReport
from lsuv_cli.core.results import tolerated
from lsuv_cli.core.rounding import explained, is_suspicious
from lsuv_cli.core.scale_rule import UNREACHED, ScaleRule, is_unsolvable


@dataclass(frozen=True, slots=True)
class Verdict:
    """Measurement of one layer, and its judgement.

    Attributes:
        planned: the layer and its target.
        status: the judgement.
        detail: the status's reason in words; empty where there is nothing to add.
        moments: moments of the layer's output; None if not measured.
        deviation: |Var / target_std^2 - 1|, with `--per channel` the largest of the channels; None
            if not measured.
        distribution: distribution of the output and its activation; None if not measured or not
            finite.
    """

    planned: PlannedLayer
    status: Status
    detail: str
    moments: Moments | None
    deviation: float | None
    distribution: Distribution | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification(RunReport):
    """Results of a run of `lsuv verify`.

    Attributes:
        weights: the path of the weights file, as it was given; None for the model's own weights.
        files: the paths of the files that were read: one, or the shards and last their index.
        layers: in execution order.
    """

    weights: str | None
    files: tuple[str, ...]
    layers: tuple[Verdict, ...]

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """Return the layers that fail."""
        return tuple(verdict for verdict in self.layers if verdict.status.is_failure)


def verdicts(
    plan: Plan,
    measured: Mapping[LayerIndex, Moments],
    distributions: Mapping[LayerIndex, Distribution],
    tol: float,
    rounding: Mapping[LayerIndex, float] | None = None,
) -> list[Verdict]:
    """Judge every layer.

    Args:
        plan: the layers and their targets.
        measured: for each measured layer's index the moments of its output.
        distributions: for each measured layer's index the distribution of its output.
        tol: tolerated |Var / target_std^2 - 1|; weights of low precision are allowed more.
        rounding: by how much rounding alone moves the variance of each layer's output, relative to
            it; None where that was not measured.
    """
    noise = rounding or {}
    found = [
        _verdict(plan, index, measured, distributions, tol, noise.get(index, 0.0))
        for index, _ in by_layer(plan.layers)
    ]
    return [_shared(index, found) for index in range(len(found))]


# The statuses that follow from how far a layer is from its target.
JUDGED = (Status.WITHIN, Status.OUTSIDE, Status.NOISY)

# Weights that were not initialised for these samples are far from the targets, for other reasons.
_FAR = 100.0


def may_be_rounding(plan: Plan, measured: Mapping[LayerIndex, Moments], tol: float) -> bool:
    """Return whether a layer is so near its target, and yet off it, that rounding may be why.

    The arguments are those of `verdicts`.
    """
    return any(
        is_suspicious(deviation, tolerance) and deviation <= _FAR * tolerance
        for index, moments in measured.items()
        if plan.layers[index].skipped is None
        for deviation in (plan.rule.deviation(moments, plan.target(index)),)
        for tolerance in (tolerated(plan.layers[index].layer, tol),)
    )


def _verdict(
    plan: Plan,
    index: LayerIndex,
    measured: Mapping[LayerIndex, Moments],
    distributions: Mapping[LayerIndex, Distribution],
    tol: float,
    noise: float,
) -> Verdict:
    planned = plan.layers[index]
    moments = measured.get(index)
    deviation = None
    if moments is not None:
        deviation = plan.rule.deviation(moments, plan.target(index))
    status, detail = _judged(plan.rule, planned, moments, deviation, tol)
    if status in (Status.WITHIN, Status.OUTSIDE) and deviation is not None:
        tolerance = tolerated(planned.layer, tol)
        status, detail = explained(deviation, noise, tolerance) or (status, detail)
    return Verdict(planned, status, detail, moments, deviation, distributions.get(index))


def _judged(
    rule: ScaleRule,
    planned: PlannedLayer,
    moments: Moments | None,
    deviation: float | None,
    tol: float,
) -> tuple[Status, str]:
    if planned.skipped is not None:
        return planned.skipped_status, planned.skipped
    if moments is None or deviation is None:
        recurrent = planned.layer.recurrent
        return (Status.UNSCALED, "") if recurrent else UNREACHED
    if not moments.is_finite:
        return Status.NON_FINITE, "its output is not finite"
    if is_unsolvable(rule, moments):
        return Status.ZERO_VARIANCE, f"its output {rule.unsolvable}"
    if deviation <= tolerated(planned.layer, tol):
        return Status.WITHIN, ""
    std = math.sqrt(moments.blob_variance)
    return Status.OUTSIDE, f"standard deviation {std:.4g}; the target is {planned.target_std:g}"


def _shared(index: int, found: Sequence[Verdict]) -> Verdict:
    """Return a layer's verdict, `shared` where its weight is right for another of its uses."""
    one = found[index]
    # As in `results`: where this one's output does not vary or is empty, another use decided.
    excused = (Status.OUTSIDE, Status.UNREACHABLE, Status.ZERO_VARIANCE)
    if one.status not in excused or one.planned.skipped is not None:
        return one
    uses = [other for other in found if other.planned.first_use == one.planned.first_use]
    right = next((use for use in uses if use.status is Status.WITHIN), None)
    if right is None:
        return one
    detail = f"scaled at {right.planned.layer.name}"
    return Verdict(one.planned, Status.SHARED, detail, one.moments, one.deviation, one.distribution)
