"""Results of `lsuv verify` as JSON."""

from __future__ import annotations

from typing import Any

from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.verification import Verdict, Verification
from lsuv_cli.report.json_parts import (
    as_text,
    finite,
    layer_document,
    moments_document,
    run_document,
)

SCHEMA = "lsuv.verify/1"


def verification_json(verification: Verification) -> str:
    """All of it, as indented JSON text; strict JSON, without NaN."""
    return as_text(
        {
            "schema": SCHEMA,
            **run_document(verification),
            "weights": verification.weights,
            "layers": [_layer(index, one) for index, one in enumerate(verification.layers)],
            "within": not verification.failures,
        }
    )


def _layer(index: int, verdict: Verdict) -> dict[str, Any]:
    return {
        **layer_document(index, verdict.planned.layer),
        "target_std": verdict.planned.target_std,
        "status": verdict.status.value,
        "detail": verdict.detail,
        "measured": moments_document(verdict.moments),
        "deviation": finite(verdict.deviation),
        "distribution": _distribution(verdict.distribution),
    }


def _distribution(one: Distribution | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "activation": one.activation or None,
        "dead": finite(one.dead),
        "saturated": finite(one.saturated),
        "edges": [float(edge) for edge in one.edges],
        "shares": [float(share) for share in one.shares],
    }
