"""What `lsuv verify` found, as JSON and as a table; docs/verify.schema.json is the schema."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from lsuv_cli.core.choices import Status
from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.verification import Verdict, Verification
from lsuv_cli.report import words
from lsuv_cli.report.as_json import (
    as_text,
    finite,
    layer_document,
    moments_document,
    run_document,
)
from lsuv_cli.report.table import add_layer_columns, layer_cells, status_cell

SCHEMA = "lsuv.verify/1"


def render_verification_json(verification: Verification) -> str:
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


def render_verification_table(verification: Verification) -> Table:
    """One row a layer, in execution order."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    add_layer_columns(table)
    for title in ("mean", "std", "dead", "saturated"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for verdict in verification.layers:
        moments, distribution = verdict.moments, verdict.distribution
        table.add_row(
            *layer_cells(verdict.planned.layer),
            words.number(None if moments is None else moments.blob_mean),
            words.number(words.std(moments)),
            words.share(distribution.dead if distribution else None),
            words.share(distribution.saturated if distribution else None),
            status_cell(verdict.status),
        )
    return table


def render_verification_summary(verification: Verification, seconds: float) -> list[str]:
    """What else there is to say: details of statuses, and one line on the whole."""
    return [
        *verification_details(verification),
        f"{verification_outcome(verification)} in {seconds:.1f} s on {verification.device}",
    ]


def verification_details(verification: Verification) -> list[str]:
    """The reasons of statuses but for what is outside, which shows in the table."""
    return words.details(one for one in verification.layers if one.status is not Status.OUTSIDE)


def verification_outcome(verification: Verification) -> str:
    """How many layers are how, how far from the target they are at most, and with what weights."""
    layers = verification.layers
    judged = [one for one in layers if one.status in (Status.WITHIN, Status.OUTSIDE)]
    worst = max(
        (one for one in judged if one.deviation is not None),
        key=lambda one: one.deviation or 0.0,
        default=None,
    )
    line = words.tally(layers)
    if worst is not None:
        called = words.largest_deviation(layers, verification.per)
        line += f"; {called} {worst.deviation:.1e}"
        if verification.failures:
            line += f" at {worst.planned.layer.name}"
    what = verification.weights or "the model's own weights"
    return f"{line}; measured {what}"
