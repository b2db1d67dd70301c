"""Results of `lsuv verify` as JSON."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from typing_extensions import TypedDict

from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.verification import Verdict, Verification
from lsuv_cli.report.json_parts import (
    LayerFacts,
    MeasureSettings,
    MomentFacts,
    RunMembers,
    SampleMembers,
    as_text,
    finite,
    layer_facts,
    moment_facts,
    run_members,
    sample_members,
)
from lsuv_cli.report.json_types import Keywords, Positive, Share, VerifyStatus


class DistributionFacts(TypedDict):
    """The distribution of a layer's output, and of the activation that follows."""

    activation: str | None
    dead: Share | None
    saturated: Share | None
    edges: Annotated[list[float], Keywords(minItems=2)]
    shares: Annotated[list[Share], Keywords(minItems=1)]


class VerifyLayer(LayerFacts):
    """Results at one layer."""

    target_std: Positive
    status: VerifyStatus
    detail: str
    measured: MomentFacts | None
    deviation: float | None
    distribution: DistributionFacts | None


class VerifyDocument(RunMembers, SampleMembers):
    """Output of `lsuv verify --json`."""

    schema: Literal["lsuv.verify/1"]
    options: MeasureSettings
    weights: str | None
    layers: Annotated[list[VerifyLayer], Keywords(minItems=1)]
    within: bool


def verification_json(verification: Verification) -> str:
    """Return the results as indented JSON text; docs/verify.schema.json is its schema."""
    document: VerifyDocument = {
        "schema": "lsuv.verify/1",
        **run_members(verification),
        "options": cast("MeasureSettings", dict(verification.settings)),
        **sample_members(verification),
        "weights": verification.weights,
        "layers": [_layer(index, one) for index, one in enumerate(verification.layers)],
        "within": not verification.failures,
    }
    return as_text(document)


def _layer(index: int, verdict: Verdict) -> VerifyLayer:
    return {
        **layer_facts(index, verdict.planned.layer),
        "target_std": verdict.planned.target_std,
        "status": verdict.status.value,
        "detail": verdict.detail,
        "measured": moment_facts(verdict.moments),
        "deviation": finite(verdict.deviation),
        "distribution": _distribution(verdict.distribution),
    }


def _distribution(one: Distribution | None) -> DistributionFacts | None:
    if one is None:
        return None
    return {
        "activation": one.activation or None,
        "dead": finite(one.dead),
        "saturated": finite(one.saturated),
        "edges": [float(edge) for edge in one.edges],
        "shares": [float(share) for share in one.shares],
    }
