"""The report as a table for people."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from lsuv_cli.core.choices import Status
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Layer, Report
from lsuv_cli.report import words
from lsuv_cli.report.bars import bars

STYLES = {
    Status.CONVERGED: "green",
    Status.SHARED: "cyan",
    Status.EXCLUDED: "dim",
    Status.UNSCALED: "cyan",
    Status.WITHIN: "green",
}
FAILURE_STYLE = "bold red"

# A narrower terminal has no room for bars beside the numbers.
LEAST_WIDTH_FOR_BARS = 80


@dataclass(frozen=True, slots=True)
class LayerTable:
    """One row a layer, in execution order; rendered as wide as the terminal allows.

    Beside the variance before is a bar of its length on a logarithmic scale, with a stroke where
    the variance after is.
    """

    report: Report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws itself."""
        yield _table(self.report, with_bars=options.max_width >= LEAST_WIDTH_FOR_BARS)


def _table(report: Report, *, with_bars: bool) -> Table:
    drawn = bars(
        [_value(result.before) for result in report.layers],
        [_value(result.after) for result in report.layers],
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    add_layer_columns(table)
    table.add_column("var before", justify="right", no_wrap=True)
    if drawn and with_bars:
        table.add_column("log scale", no_wrap=True)
    for title in ("var after", "scale"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for index, result in enumerate(report.layers):
        table.add_row(
            *layer_cells(result.planned.layer),
            words.variance(result.before),
            *([drawn[index]] if drawn and with_bars else []),
            words.variance(result.after),
            words.scale(result, report.per),
            status_cell(result.status),
        )
    return table


def add_layer_columns(table: Table) -> None:
    """Add the columns that say which layer a row is of."""
    # Of what is too wide, names are cut; numbers never.
    table.add_column("layer", overflow="ellipsis")
    for title in ("op", "weight"):
        table.add_column(title, no_wrap=True)


def layer_cells(layer: Layer) -> tuple[Text, Text, Text]:
    """Which layer it is: name, operator, the weight's shape."""
    return (
        Text(layer.name, no_wrap=True, overflow="ellipsis"),
        Text(layer.op),
        Text(words.weight(layer)),
    )


def status_cell(status: Status) -> Text:
    """A status in its colour."""
    return Text(status.value, style=STYLES.get(status, FAILURE_STYLE))


def _value(moments: Moments | None) -> float | None:
    return None if moments is None else moments.blob_variance


def render_summary(report: Report, seconds: float) -> list[str]:
    """What else there is to say: details of statuses, and one line on the whole."""
    return [
        *words.details(report.layers),
        f"{words.outcome(report)}; {words.written(report)} in {seconds:.1f} s on {report.device}",
    ]
