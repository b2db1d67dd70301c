"""Tables by layer as the terminal shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lsuv_cli.report.columns import Cell, Holds, LayerColumn, Tone

STYLES = {
    Tone.PLAIN: "",
    Tone.GOOD: "green",
    Tone.BAD: "bold red",
    Tone.NOTE: "cyan",
    Tone.FAINT: "dim",
}


@dataclass(frozen=True, slots=True)
class DrawnColumn:
    """A column of small drawings, one per row."""

    title: str
    cells: Sequence[RenderableType]


def terminal_table(columns: Iterable[LayerColumn | DrawnColumn], title: str = "") -> Table:
    """Return a table with one row per layer.

    Args:
        columns: from left to right, all of the same length.
        title: a line above the headings; empty for none.
    """
    table = plain_table(title)
    shown: list[Sequence[RenderableType]] = []
    for column in columns:
        if isinstance(column, DrawnColumn):
            table.add_column(column.title, no_wrap=True)
            shown.append(column.cells)
        else:
            _add_column(table, column)
            shown.append([_text(cell, column.holds) for cell in column.cells])
    for row in zip(*shown, strict=True):
        table.add_row(*row)
    return table


def plain_table(title: str = "") -> Table:
    """Return an empty table without lines."""
    return Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=title or None,
        title_justify="left",
        title_style="bold",
    )


def select(columns: Iterable[LayerColumn], titles: Iterable[str]) -> list[LayerColumn]:
    """Return the columns with some titles, in their order."""
    by_title = {column.title: column for column in columns}
    return [by_title[title] for title in titles]


def _add_column(table: Table, column: LayerColumn) -> None:
    if column.holds is Holds.NAME:
        # Of what is too wide, names are cut; numbers never.
        table.add_column(column.title, overflow="ellipsis")
    elif column.holds is Holds.SENTENCE:
        table.add_column(column.title, overflow="fold")
    elif column.holds is Holds.NUMBER:
        table.add_column(column.title, justify="right", no_wrap=True)
    else:
        table.add_column(column.title, no_wrap=True)


def _text(cell: Cell, holds: Holds) -> Text:
    if holds is Holds.NAME:
        return Text(cell.text, no_wrap=True, overflow="ellipsis")
    return Text(cell.text, style=STYLES[cell.tone])
