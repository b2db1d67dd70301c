"""Results of `lsuv init` as columns by layer, and as a table in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from rich.console import Console, ConsoleOptions, RenderResult

from lsuv_cli.core.choices import Per
from lsuv_cli.core.indices import by_layer
from lsuv_cli.core.records import LayerResult, Report
from lsuv_cli.report.bars import bars
from lsuv_cli.report.columns import (
    Cell,
    Holds,
    LayerColumn,
    distribution_columns,
    layer_columns,
    number_column,
    reason_columns,
    status_column,
    weight_columns,
)
from lsuv_cli.report.numbers import MISSING, number, scale_range, variance_of
from lsuv_cli.report.terminal import DrawnColumn, select, terminal_table

LEFT_OF_BARS = ("layer", "op", "weight", "var before")
RIGHT_OF_BARS = ("var after", "scale", "status")

# A narrower terminal has no room for bars beside the numbers.
LEAST_WIDTH_FOR_BARS = 80

# Six digits after the point around 1, which is what the table is read for.
show_variance = partial(number, decimals=6)


def init_columns(report: Report) -> Iterator[LayerColumn]:
    """Yield all columns of the results of `lsuv init`, in the page's order."""
    results = report.layers
    layers = [result.planned.layer for result in results]
    yield from layer_columns(layers)
    before, after = _variances(report)
    yield number_column("var before", before, show_variance)
    yield number_column("var after", after, show_variance)
    yield number_column("target std", (one.planned.target_std for one in results), "{:g}".format)
    yield LayerColumn("scale", tuple(_scale(one, report.per) for one in results), Holds.NUMBER)
    if report.distributions:
        yield from distribution_columns(
            report.distributions.get(index) for index, _ in by_layer(results)
        )
    yield status_column(result.status for result in results)
    yield from reason_columns([result.detail for result in results])
    yield from weight_columns(layers)


@dataclass(frozen=True, slots=True)
class InitTable:
    """Results of `lsuv init`, one row per layer; rendered as wide as the terminal allows.

    Beside the variance before is a bar of its length on a logarithmic scale, with a stroke where
    the variance after is.
    """

    report: Report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table."""
        columns = list(init_columns(self.report))
        drawn = bars(*_variances(self.report))
        is_wide = options.max_width >= LEAST_WIDTH_FOR_BARS
        yield terminal_table(
            [
                *select(columns, LEFT_OF_BARS),
                *([DrawnColumn("log scale", drawn)] if drawn and is_wide else []),
                *select(columns, RIGHT_OF_BARS),
            ]
        )


def _variances(report: Report) -> tuple[list[float | None], list[float | None]]:
    """Return each layer's variance before and after."""
    return (
        [variance_of(result.before) for result in report.layers],
        [variance_of(result.after) for result in report.layers],
    )


def _scale(result: LayerResult, per: Per) -> Cell:
    """Return the cell of a scale, or of the scales by channel, sorted by the smallest."""
    text = scale_range(result, per)
    return Cell(text, None if text == MISSING else float(result.scale.min()))
