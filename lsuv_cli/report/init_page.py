"""The report of `lsuv init` as a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import LayerResult, Report
from lsuv_cli.report import words
from lsuv_cli.report.page import (
    Cell,
    Chart,
    Column,
    Curve,
    Fact,
    LayerHistograms,
    Page,
    Section,
    Table,
    Tone,
)
from lsuv_cli.report.sections import model_section, run_notes, run_sections
from lsuv_cli.report.versions import file_hashes

COLUMNS = (
    Column("layer"),
    Column("#", is_numeric=True),
    Column("op"),
    Column("var before", is_numeric=True),
    Column("var after", is_numeric=True),
    Column("scale", is_numeric=True),
    Column("status"),
    Column("weight"),
    Column("parameter"),
    Column("target std", is_numeric=True),
)


def init_page(
    report: Report, command: str, histograms: Mapping[int, LayerHistograms] | None = None
) -> Page:
    """Everything that a run of `lsuv init` has to say, as a page.

    Args:
        report: of the run.
        command: the command line that repeats it.
        histograms: for each measured layer's index its histograms before and after.
    """
    names = [result.planned.layer.name for result in report.layers]
    measured = histograms or {}
    return Page(
        title=f"LSUV initialisation of {Path(report.model).name}",
        summary=f"{words.outcome(report)}; {words.written(report)}",
        tone=Tone.BAD if report.failures else Tone.GOOD,
        charts=(init_chart(report),),
        table=_table(report),
        histograms=tuple(
            measured.get(index, LayerHistograms(name, ())) for index, name in enumerate(names)
        )
        if measured
        else (),
        notes=tuple(_notes(report)),
        sections=tuple(_sections(report)),
        command=command,
    )


def init_chart(report: Report) -> Chart:
    """Each layer's standard deviation with the model's own weights and with the written ones."""
    before = Curve("before", tuple(_std(result.before) for result in report.layers))
    after = Curve("after", tuple(_std(result.after) for result in report.layers))
    targets = tuple(result.planned.target_std for result in report.layers)
    return Chart(
        title="Standard deviation of each layer's output, by depth",
        y_label="standard deviation",
        layers=tuple(result.planned.layer.name for result in report.layers),
        curves=(before, after),
        targets=targets,
    )


def _std(moments: Moments | None) -> float | None:
    return None if moments is None else math.sqrt(moments.blob_variance)


def _table(report: Report) -> Table:
    with_reasons = any(result.detail for result in report.layers)
    columns = (*COLUMNS, Column("reason")) if with_reasons else COLUMNS
    return Table("Layers", columns, tuple(_rows(report, with_reasons=with_reasons)))


def _rows(report: Report, *, with_reasons: bool) -> Sequence[tuple[Cell, ...]]:
    rows = []
    for index, result in enumerate(report.layers):
        layer, target = result.planned.layer, result.planned.target_std
        rows.append(
            (
                Cell(layer.name),
                Cell(str(index + 1), index + 1),
                Cell(layer.op),
                Cell(words.variance(result.before), _variance(result.before)),
                Cell(words.variance(result.after), _variance(result.after)),
                Cell(words.scale(result, report.per), _scale(result, report.per)),
                Cell(result.status.value, tone=_tone(result.status)),
                Cell(words.weight(layer)),
                Cell(layer.parameter),
                Cell(f"{target:g}", target),
                *([Cell(result.detail)] if with_reasons else []),
            )
        )
    return rows


def _tone(status: Status) -> Tone:
    if status.is_failure:
        return Tone.BAD
    return Tone.GOOD if status is Status.CONVERGED else Tone.PLAIN


def _variance(moments: Moments | None) -> float | None:
    return None if moments is None else moments.blob_variance


def _scale(result: LayerResult, per: Per) -> float | None:
    """What the scale is sorted by: with one a channel, their smallest."""
    return None if words.scale(result, per) == "-" else float(result.scale.min())


def _notes(report: Report) -> Sequence[str]:
    return [*words.details(report.failures), *run_notes(report)]


def _sections(report: Report) -> Sequence[Section]:
    return (
        model_section(report),
        Section(
            "Written",
            (
                Fact("bytes of tensors", f"{report.bytes_written:,}"),
                *(Fact(f"SHA-256 of {name}", value) for name, value in file_hashes(report.files)),
            ),
        ),
        *run_sections(report),
    )
