"""Tables by layer as the terminal shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lsuv_cli.report.columns import Holds, LayerColumn, Tone

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


# Of a name that is folded, at least this much stands on a line.
NAME_WIDTH = 16
SENTENCE_WIDTH = 24

WIDEST = 1 << 16


@dataclass(frozen=True, slots=True)
class LayerTable:
    """A table with one row per layer, of which nothing is cut off, however narrow the terminal.

    Sentences are folded first, then names, but these only in a terminal: elsewhere the lines are
    searched. A terminal that is too narrow even for that wraps the lines.

    Attributes:
        columns: from left to right, all of the same length.
        title: a line above the headings; empty for none.
    """

    columns: Sequence[LayerColumn | DrawnColumn]
    title: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table(fold_names=False)
        least = _least_width(console, table)
        if least > options.max_width and console.file.isatty():
            table = self._table(fold_names=True)
            least = _least_width(console, table)
        yield from console.render(table, options.update(width=max(least, options.max_width)))

    def _table(self, *, fold_names: bool) -> Table:
        table = plain_table(self.title)
        shown: list[Sequence[RenderableType]] = []
        for column in self.columns:
            if isinstance(column, DrawnColumn):
                table.add_column(column.title, no_wrap=True)
                shown.append(column.cells)
            else:
                _add_column(table, column, fold_names=fold_names)
                shown.append([Text(cell.text, style=STYLES[cell.tone]) for cell in column.cells])
        for row in zip(*shown, strict=True):
            table.add_row(*row)
        return table


def _least_width(console: Console, table: Table) -> int:
    """Return the width below which a table would lose something."""
    rows = console.options.update(width=WIDEST)
    separators = 2 * (len(table.columns) - 1)
    return separators + sum(
        column.min_width
        if column.min_width is not None
        else max(
            Measurement.get(console, rows, cell).maximum for cell in (column.header, *column.cells)
        )
        for column in table.columns
    )


def terminal_table(columns: Iterable[LayerColumn | DrawnColumn], title: str = "") -> LayerTable:
    """Return a table with one row per layer.

    Args:
        columns: from left to right, all of the same length.
        title: a line above the headings; empty for none.
    """
    return LayerTable(tuple(columns), title)


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


def _add_column(table: Table, column: LayerColumn, *, fold_names: bool) -> None:
    longest = max([len(column.title), *(len(cell.text) for cell in column.cells)])
    if column.holds is Holds.SENTENCE:
        least = min(longest, SENTENCE_WIDTH)
        table.add_column(column.title, overflow="fold", min_width=least)
    elif column.holds is Holds.NAME and fold_names:
        table.add_column(column.title, overflow="fold", min_width=min(longest, NAME_WIDTH))
    elif column.holds is Holds.NUMBER:
        table.add_column(column.title, justify="right", no_wrap=True)
    else:
        table.add_column(column.title, no_wrap=True)
