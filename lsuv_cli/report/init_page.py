"""The report of `lsuv init` as a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lsuv_cli.core.choices import Per
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import LayerResult, Report
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
from lsuv_cli.report.versions import file_hashes

FIRST_COLUMNS = (
    *LAYER_COLUMNS,
    Column("var before", Holds.NUMBER),
    Column("var after", Holds.NUMBER),
    Column("target std", Holds.NUMBER),
    Column("scale", Holds.NUMBER),
)
AFTER = "after"


def init_page(report: Report, command: str) -> Page:
    """Everything that a run of `lsuv init` has to say, as a page.

    Args:
        report: of the run.
        command: the command line that repeats it.

    Raises:
        OSError: a written file can't be read any more.
    """
    layers = [result.planned for result in report.layers]
    before = [result.before for result in report.layers]
    after = [result.after for result in report.layers]
    curves = {"before": before, AFTER: after}
    return Page(
        title=f"LSUV initialisation of {Path(report.model).name}",
        summary=f"{words.outcome(report)}; {words.written(report)}",
        tone=Tone.BAD if report.failures else Tone.GOOD,
        charts=(depth_chart(layers, curves, report.per, report.tol),),
        table=_table(report),
        histograms=layer_histograms(layers, report.distributions, AFTER, list(curves).index(AFTER)),
        notes=tuple(_notes(report)),
        sections=tuple(_sections(report)),
        command=command,
    )


def _table(report: Report) -> Table:
    with_reasons = any(result.detail for result in report.layers)
    columns = (
        *FIRST_COLUMNS,
        *(DISTRIBUTION_COLUMNS if report.distributions else ()),
        Column("status"),
        *((REASON,) if with_reasons else ()),
        *WEIGHT_COLUMNS,
    )
    rows = (
        tuple(_cells(report, index, result, with_reasons=with_reasons))
        for index, result in enumerate(report.layers)
    )
    return Table("Layers", columns, tuple(rows))


def _cells(
    report: Report, index: int, result: LayerResult, *, with_reasons: bool
) -> Iterator[Cell]:
    layer, target = result.planned.layer, result.planned.target_std
    yield from layer_cells(index, layer)
    yield Cell(words.variance(result.before), _variance(result.before))
    yield Cell(words.variance(result.after), _variance(result.after))
    yield Cell(f"{target:g}", target)
    yield Cell(words.scale(result, report.per), _scale(result, report.per))
    if report.distributions:
        yield from distribution_cells(report.distributions.get(index))
    yield status_cell(result.status)
    if with_reasons:
        yield Cell(result.detail)
    yield from weight_cells(layer)


def _variance(moments: Moments | None) -> float | None:
    return None if moments is None else moments.blob_variance


def _scale(result: LayerResult, per: Per) -> float | None:
    """What the scale is sorted by: with one a channel, their smallest."""
    return None if words.scale(result, per) == "-" else float(result.scale.min())


def _notes(report: Report) -> Sequence[str]:
    return [*first_notes(words.details(report.failures), IN_THE_TABLE), *run_notes(report)]


def _sections(report: Report) -> Sequence[Section]:
    return (
        model_section(report),
        Section(
            "Written",
            (
                Fact("bytes written", f"{report.bytes_written:,}"),
                *(Fact(f"SHA-256 of {name}", value) for name, value in _hashes(report)),
            ),
        ),
        *run_sections(report),
    )


def _hashes(report: Report) -> Iterable[tuple[str, str]]:
    # What went to stdout is not there to be read.
    return () if report.out == words.STDOUT else file_hashes(report.files)
