"""Results of `lsuv verify` as columns by layer, and as a table in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from lsuv_cli.core.choices import Status
from lsuv_cli.core.verification import Verdict, Verification
from lsuv_cli.report.columns import (
    LayerColumn,
    distribution_columns,
    layer_columns,
    number_column,
    reason_columns,
    status_column,
    text_column,
    weight_columns,
)
from lsuv_cli.report.numbers import MISSING, mean_of, number, std_of
from lsuv_cli.report.terminal import LayerTable, select, terminal_table

IN_THE_TERMINAL = ("layer", "op", "weight", "mean", "std", "dead", "saturated", "status")

show_std = partial(number, decimals=4)


def verification_columns(verification: Verification) -> Iterator[LayerColumn]:
    """Yield all columns of the results of `lsuv verify`, in the page's order."""
    verdicts = verification.layers
    layers = [verdict.planned.layer for verdict in verdicts]
    yield from layer_columns(layers)
    yield number_column("mean", (mean_of(one.moments) for one in verdicts), show_std)
    yield number_column("std", (std_of(one.moments) for one in verdicts), show_std)
    yield number_column("target std", (one.planned.target_std for one in verdicts), "{:g}".format)
    yield number_column("deviation", (one.deviation for one in verdicts))
    yield from distribution_columns(verdict.distribution for verdict in verdicts)
    yield text_column("activation", map(_activation, verdicts))
    yield status_column(verdict.status for verdict in verdicts)
    yield from reason_columns([_reason(verdict) for verdict in verdicts])
    yield from weight_columns(layers)


def verification_table(verification: Verification) -> LayerTable:
    """Return the terminal's table of a verification, one row per layer in execution order."""
    return terminal_table(select(verification_columns(verification), IN_THE_TERMINAL))


def _activation(verdict: Verdict) -> str:
    return (verdict.distribution and verdict.distribution.activation) or MISSING


def _reason(verdict: Verdict) -> str:
    # How far a layer is outside, the numbers beside it tell.
    return "" if verdict.status is Status.OUTSIDE else verdict.detail
