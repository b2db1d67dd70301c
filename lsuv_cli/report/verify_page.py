"""What `lsuv verify` found, as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsuv_cli.core.choices import Status
from lsuv_cli.core.verification import Verdict, Verification
from lsuv_cli.report import words
from lsuv_cli.report.layer_page import (
    DISTRIBUTION_COLUMNS,
    IN_THE_TABLE,
    REASON,
    WEIGHT_COLUMNS,
    depth_chart,
    distribution_cells,
    layer_histograms,
    status_cell,
    weight_cells,
)
from lsuv_cli.report.page import Cell, Column, Fact, Holds, Page, Section, Table, Tone
from lsuv_cli.report.sections import (
    LAYER_COLUMNS,
    first_notes,
    layer_cells,
    model_section,
    run_notes,
    run_sections,
)
from lsuv_cli.report.verification import verification_details, verification_outcome
from lsuv_cli.report.versions import file_hashes

FIRST_COLUMNS = (
    *LAYER_COLUMNS,
    Column("mean", Holds.NUMBER),
    Column("std", Holds.NUMBER),
    Column("target std", Holds.NUMBER),
    Column("deviation", Holds.NUMBER),
    *DISTRIBUTION_COLUMNS,
    Column("activation"),
    Column("status"),
)
MEASURED = "measured"


def verification_page(verification: Verification, command: str) -> Page:
    """Everything that a run of `lsuv verify` has to say, as a page.

    Args:
        verification: what was found.
        command: the command line that repeats it.

    Raises:
        OSError: a file of the weights can't be read any more.
    """
    layers = [verdict.planned for verdict in verification.layers]
    moments = [verdict.moments for verdict in verification.layers]
    distributions = {
        index: verdict.distribution
        for index, verdict in enumerate(verification.layers)
        if verdict.distribution is not None
    }
    return Page(
        title=f"Verification of {Path(verification.model).name}",
        summary=verification_outcome(verification),
        tone=Tone.BAD if verification.failures else Tone.GOOD,
        charts=(depth_chart(layers, {MEASURED: moments}, verification.per, verification.tol),),
        table=_table(verification),
        histograms=layer_histograms(layers, distributions, MEASURED, 0),
        notes=(
            *first_notes(verification_details(verification), IN_THE_TABLE),
            *run_notes(verification),
        ),
        sections=(
            model_section(verification),
            *_weights_sections(verification),
            *run_sections(verification),
        ),
        command=command,
    )


def _table(verification: Verification) -> Table:
    with_reasons = any(map(_reason, verification.layers))
    reasons = (REASON,) if with_reasons else ()
    rows = (
        tuple(_cells(index, verdict, with_reasons=with_reasons))
        for index, verdict in enumerate(verification.layers)
    )
    return Table("Layers", (*FIRST_COLUMNS, *reasons, *WEIGHT_COLUMNS), tuple(rows))


def _cells(index: int, verdict: Verdict, *, with_reasons: bool) -> Iterator[Cell]:
    layer, target = verdict.planned.layer, verdict.planned.target_std
    mean = None if verdict.moments is None else verdict.moments.blob_mean
    std, deviation, distribution = (
        words.std(verdict.moments),
        verdict.deviation,
        verdict.distribution,
    )
    yield from layer_cells(index, layer)
    yield Cell(words.number(mean), mean)
    yield Cell(words.number(std), std)
    yield Cell(f"{target:g}", target)
    yield Cell("-" if deviation is None else f"{deviation:.3g}", deviation)
    yield from distribution_cells(distribution)
    yield Cell((distribution.activation if distribution else "") or "-")
    yield status_cell(verdict.status)
    if with_reasons:
        yield Cell(_reason(verdict))
    yield from weight_cells(layer)


def _reason(verdict: Verdict) -> str:
    # How far a layer is outside, the numbers beside it tell.
    return "" if verdict.status is Status.OUTSIDE else verdict.detail


def _weights_sections(verification: Verification) -> Iterator[Section]:
    if verification.weights is not None:
        hashes = (
            Fact(f"SHA-256 of {name}", value) for name, value in file_hashes(verification.files)
        )
        yield Section("Weights", (Fact("file", verification.weights), *hashes))
