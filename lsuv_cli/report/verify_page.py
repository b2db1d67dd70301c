"""What `lsuv verify` found, as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsuv_cli.core.verification import Verdict, Verification
from lsuv_cli.report import words
from lsuv_cli.report.layer_page import (
    DISTRIBUTION_COLUMNS,
    depth_chart,
    distribution_cells,
    layer_histograms,
    status_cell,
)
from lsuv_cli.report.page import Cell, Column, Fact, Page, Section, Table, Tone
from lsuv_cli.report.sections import model_section, run_notes, run_sections
from lsuv_cli.report.verification import verification_details, verification_outcome
from lsuv_cli.report.versions import file_hashes

COLUMNS = (
    Column("layer"),
    Column("#", is_numeric=True),
    Column("op"),
    Column("mean", is_numeric=True),
    Column("std", is_numeric=True),
    Column("|Var-1|", is_numeric=True),
    *DISTRIBUTION_COLUMNS,
    Column("activation"),
    Column("status"),
    Column("weight"),
    Column("parameter"),
    Column("target std", is_numeric=True),
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
        histograms=layer_histograms(layers, distributions, moments, MEASURED, 0),
        notes=(*verification_details(verification), *run_notes(verification)),
        sections=(
            model_section(verification),
            *_weights_sections(verification),
            *run_sections(verification),
        ),
        command=command,
    )


def _table(verification: Verification) -> Table:
    with_reasons = any(verdict.detail for verdict in verification.layers)
    columns = (*COLUMNS, Column("reason")) if with_reasons else COLUMNS
    rows = (
        (*_cells(index, verdict), *([Cell(verdict.detail)] if with_reasons else []))
        for index, verdict in enumerate(verification.layers)
    )
    return Table("Layers", columns, tuple(rows))


def _cells(index: int, verdict: Verdict) -> Iterator[Cell]:
    layer, target = verdict.planned.layer, verdict.planned.target_std
    mean = None if verdict.moments is None else verdict.moments.blob_mean
    std, deviation, distribution = (
        words.std(verdict.moments),
        verdict.deviation,
        verdict.distribution,
    )
    yield Cell(layer.name)
    yield Cell(str(index + 1), index + 1)
    yield Cell(layer.op)
    yield Cell(words.number(mean), mean)
    yield Cell(words.number(std), std)
    yield Cell("-" if deviation is None else f"{deviation:.1e}", deviation)
    yield from distribution_cells(distribution)
    yield Cell((distribution.activation if distribution else "") or "-")
    yield status_cell(verdict.status)
    yield Cell(words.weight(layer))
    yield Cell(layer.parameter)
    yield Cell(f"{target:g}", target)


def _weights_sections(verification: Verification) -> Iterator[Section]:
    if verification.weights is not None:
        hashes = (
            Fact(f"SHA-256 of {name}", value) for name, value in file_hashes(verification.files)
        )
        yield Section("Weights", (Fact("file", verification.weights), *hashes))
