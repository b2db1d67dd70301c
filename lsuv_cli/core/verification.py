"""What `lsuv verify` finds: how the layers' outputs are with given weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsuv_cli.core.choices import Status
from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.moments import RELATIVE_VARIANCE_FLOOR, Moments
from lsuv_cli.core.records import Plan, PlannedLayer, RunReport
from lsuv_cli.core.results import tolerated


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found at one layer.

    Attributes:
        planned: the layer and its target.
        status: whether it has it.
        detail: the status's reason in words; empty where there is nothing to add.
        moments: of its output; None if not measured.
        deviation: |Var / target_std^2 - 1|, the largest of a channel with `--per channel`; None
            if not measured.
        distribution: of its output and its activation; None if not measured or not finite.
    """

    planned: PlannedLayer
    status: Status
    detail: str
    moments: Moments | None
    deviation: float | None
    distribution: Distribution | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification(RunReport):
    """Everything a run of `lsuv verify` has to say.

    Attributes:
        weights: the path of the file of weights, as it was given; None for the model's own.
        files: the paths of the files that were read for it: one, or shards and last their index.
        layers: in execution order.
    """

    weights: str | None
    files: tuple[str, ...]
    layers: tuple[Verdict, ...]

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """The layers that are outside the tolerance."""
        return tuple(verdict for verdict in self.layers if verdict.status.is_failure)


def verdicts(
    plan: Plan,
    measured: Mapping[int, Moments],
    distributions: Mapping[int, Distribution],
    tol: float,
) -> list[Verdict]:
    """Judge every layer.

    Args:
        plan: the layers and their targets.
        measured: for each layer's index the moments of its output.
        distributions: the same for its distribution.
        tol: tolerated |Var / target_std^2 - 1|; what the weight's own dtype allows, if that is
            more.
    """
    found = [
        _verdict(plan, index, measured, distributions, tol) for index in range(len(plan.layers))
    ]
    return [_shared(index, found) for index in range(len(found))]


def _verdict(
    plan: Plan,
    index: int,
    measured: Mapping[int, Moments],
    distributions: Mapping[int, Distribution],
    tol: float,
) -> Verdict:
    planned = plan.layers[index]
    moments = measured.get(index)
    deviation = None
    if moments is not None:
        deviation = plan.rule.deviation(moments, plan.target(index))
    status, detail = _judged(planned, moments, deviation, tol)
    return Verdict(planned, status, detail, moments, deviation, distributions.get(index))


def _judged(
    planned: PlannedLayer, moments: Moments | None, deviation: float | None, tol: float
) -> tuple[Status, str]:
    if planned.skipped is not None:
        return planned.skipped_status, planned.skipped
    if planned.layer.recurrent or moments is None or deviation is None:
        return Status.UNSCALED, ""
    if not moments.is_finite:
        return Status.NON_FINITE, "its output is not finite"
    square = float(moments.mean_square.mean())
    if moments.blob_variance <= RELATIVE_VARIANCE_FLOOR * square:
        return Status.ZERO_VARIANCE, "its output does not vary"
    if deviation <= tolerated(planned.layer, tol):
        return Status.WITHIN, ""
    std = math.sqrt(moments.blob_variance)
    return Status.OUTSIDE, f"standard deviation {std:.4g}, and {planned.target_std:g} was wanted"


def _shared(index: int, found: Sequence[Verdict]) -> Verdict:
    """A weight that several layers use can be right for one of them only."""
    one = found[index]
    if one.status is not Status.OUTSIDE:
        return one
    uses = [other for other in found if other.planned.first_use == one.planned.first_use]
    right = next((use for use in uses if use.status is Status.WITHIN), None)
    if right is None:
        return one
    detail = f"scaled at {right.planned.layer.name}"
    return Verdict(one.planned, Status.SHARED, detail, one.moments, one.deviation, one.distribution)
