"""What the pages of all jobs with samples have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lsuv_cli.core.records import InputStatistics, Layer, RunReport
from lsuv_cli.report.page import Cell, Column, Fact, Holds, Section
from lsuv_cli.report.versions import versions

MOST_NOTES = 5

LAYER_COLUMNS = (Column("layer", Holds.NAME), Column("#", Holds.NUMBER), Column("op"))


def model_section(report: RunReport) -> Section:
    """Which model."""
    return Section(
        "Model",
        (
            Fact("file", report.model),
            Fact("SHA-256", report.model_sha256),
            Fact("opset", str(report.opset)),
        ),
    )


def run_sections(report: RunReport) -> tuple[Section, ...]:
    """Samples, options and versions."""
    return (
        Section(
            "Samples",
            (
                Fact("used", f"{report.samples:,} of {report.available_samples:,}"),
                *(Fact(f"input {one.name}", _input(one)) for one in report.inputs),
            ),
        ),
        Section(
            "Options",
            tuple(Fact(name, _option(value)) for name, value in report.settings.items()),
        ),
        Section(
            "Versions",
            (
                Fact("lsuv", report.version),
                *(Fact(name, version) for name, version in versions()),
                Fact("device", report.device),
                Fact("processes", str(report.processes)),
            ),
        ),
    )


def layer_cells(index: int, layer: Layer) -> tuple[Cell, ...]:
    """The cells of `LAYER_COLUMNS`.

    Args:
        index: the layer's place in execution order, from 0.
        layer: it.
    """
    return Cell(layer.name), Cell(str(index + 1), index + 1), Cell(layer.op)


def first_notes(notes: Sequence[str], where: str) -> list[str]:
    """The notes on layers, if they are few; of many the first.

    Args:
        notes: one a layer.
        where: all are.
    """
    more = len(notes) - MOST_NOTES
    return [*notes[:MOST_NOTES], *([f"and {more} more, {where}"] if more > 0 else [])]


def run_notes(report: RunReport) -> list[str]:
    """What else the reader must know, a sentence each."""
    notes = []
    if report.left_alone:
        notes.append(f"left as they are: {', '.join(report.left_alone)}")
    if report.skipped_samples:
        skipped = "; ".join(f"{path}: {reason}" for path, reason in report.skipped_samples)
        notes.append(f"left out, since they can't be read: {skipped}")
    return notes


def _input(statistics: InputStatistics) -> str:
    shape = "x".join(map(str, statistics.shape))
    return f"{shape} {statistics.dtype}, mean {statistics.mean:.4g}, std {statistics.std:.4g}"


def _option(value: object) -> str:
    if value is None or value in ([], {}):
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
