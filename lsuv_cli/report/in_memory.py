"""Results as text, and as HTML for a notebook."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType

from lsuv_cli.core.comparison import Comparison
from lsuv_cli.core.inspection import Inspection
from lsuv_cli.core.records import Report
from lsuv_cli.core.verification import Verification
from lsuv_cli.report.columns import Cell, Holds, LayerColumn, Tone
from lsuv_cli.report.compare_table import comparison_columns, comparison_tables
from lsuv_cli.report.init_table import LEFT_OF_BARS, RIGHT_OF_BARS, InitTable, init_columns
from lsuv_cli.report.inspect_table import inspection_columns, inspection_table
from lsuv_cli.report.terminal import select
from lsuv_cli.report.verify_table import IN_THE_TERMINAL, verification_columns, verification_table
from lsuv_cli.report.words import (
    comparison_details,
    comparison_outcome,
    details,
    init_outcome,
    verification_details,
    verification_outcome,
)

WIDTH = 120
# By a colour's name, so that they can be read on light and dark pages alike.
COLOURS = {Tone.GOOD: "seagreen", Tone.BAD: "crimson", Tone.NOTE: "steelblue", Tone.FAINT: "gray"}


def init_text(report: Report) -> str:
    """Return the table of `lsuv init`, and the lines below it."""
    return _text([InitTable(report)], _init_lines(report))


def init_html(report: Report) -> str:
    """Return the table of `lsuv init` as HTML."""
    columns = select(init_columns(report), (*LEFT_OF_BARS, *RIGHT_OF_BARS))
    return _html(columns, _init_lines(report))


def verification_text(verification: Verification) -> str:
    """Return the table of `lsuv verify`, and the lines below it."""
    return _text([verification_table(verification)], _verification_lines(verification))


def verification_html(verification: Verification) -> str:
    """Return the table of `lsuv verify` as HTML."""
    columns = select(verification_columns(verification), IN_THE_TERMINAL)
    return _html(columns, _verification_lines(verification))


def comparison_text(comparison: Comparison) -> str:
    """Return the tables of `lsuv compare`, and the lines below them."""
    return _text(comparison_tables(comparison), _comparison_lines(comparison))


def comparison_html(comparison: Comparison) -> str:
    """Return the table of `lsuv compare` as HTML."""
    return _html(list(comparison_columns(comparison)), _comparison_lines(comparison))


def inspection_text(inspection: Inspection) -> str:
    """Return the table of `lsuv inspect`, and the lines around it."""
    return _text([inspection_table(inspection)], [])


def inspection_html(inspection: Inspection) -> str:
    """Return the table of `lsuv inspect` as HTML."""
    return _html(list(inspection_columns(inspection)), [])


def _init_lines(report: Report) -> list[str]:
    return [*details(report.layers), init_outcome(report)]


def _verification_lines(verification: Verification) -> list[str]:
    return [*verification_details(verification), verification_outcome(verification)]


def _comparison_lines(comparison: Comparison) -> list[str]:
    return [*comparison_details(comparison), comparison_outcome(comparison)]


def _cell(column: LayerColumn, cell: Cell) -> str:
    side = "right" if column.holds is Holds.NUMBER else "left"
    colour = f";color:{COLOURS[cell.tone]}" if cell.tone in COLOURS else ""
    return f'<td style="text-align:{side}{colour}">{html.escape(cell.text)}</td>'


def _text(tables: Iterable[RenderableType], lines: Sequence[str]) -> str:
    file = io.StringIO()
    console = Console(file=file, width=WIDTH, color_system=None, highlight=False, markup=False)
    for table in tables:
        console.print(table)
    shown = (line.rstrip() for line in file.getvalue().splitlines())
    return "\n".join((*shown, *lines))


def _html(columns: Sequence[LayerColumn], lines: Sequence[str]) -> str:
    heads = "".join(f"<th>{html.escape(column.title)}</th>" for column in columns)
    rows = "".join(
        f"<tr>{''.join(map(_cell, columns, cells))}</tr>"
        for cells in zip(*(one.cells for one in columns), strict=True)
    )
    below = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{below}"
