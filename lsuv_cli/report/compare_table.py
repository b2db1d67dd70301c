"""Results of `lsuv compare` as columns by layer, and as tables in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table

from lsuv_cli.core.comparison import ComparedInit, Comparison
from lsuv_cli.report.columns import LayerColumn, layer_columns, number_column
from lsuv_cli.report.log_scale import LogScale
from lsuv_cli.report.sparkline import Sparkline
from lsuv_cli.report.terminal import plain_table, select, terminal_table
from lsuv_cli.report.words import growth_text

FORWARD = "forward: standard deviation of each layer's output"
BACKWARD = "backward: standard deviation of the gradient with respect to it"

StdsByLayer = Callable[[ComparedInit], Sequence[float | None]]


def comparison_columns(comparison: Comparison) -> Iterator[LayerColumn]:
    """Yield all columns of the results of `lsuv compare`, in the page's order."""
    yield from _first_columns(comparison)
    yield from _std_columns(comparison, comparison.forward, " forward")
    if comparison.has_gradients:
        yield from _std_columns(comparison, comparison.backward, " backward")


def comparison_tables(comparison: Comparison) -> Iterator[RenderableType]:
    """Yield the terminal's tables: by depth forward and backward, then by initialisation."""
    yield _by_depth(comparison, FORWARD, comparison.forward)
    if comparison.has_gradients:
        yield _by_depth(comparison, BACKWARD, comparison.backward)
    yield _by_init(comparison)


def _first_columns(comparison: Comparison) -> tuple[LayerColumn, ...]:
    return layer_columns([planned.layer for planned in comparison.layers])


def _std_columns(
    comparison: Comparison, stds: StdsByLayer, suffix: str = ""
) -> Iterator[LayerColumn]:
    for one in comparison.inits:
        yield number_column(f"{one.init}{suffix}", stds(one))


def _by_depth(comparison: Comparison, title: str, stds: StdsByLayer) -> RenderableType:
    first = select(_first_columns(comparison), ("layer", "op"))
    return terminal_table([*first, *_std_columns(comparison, stds)], title)


def _by_init(comparison: Comparison) -> Table:
    table = plain_table()
    titles = ["init", "forward", "first to last layer"]
    if comparison.has_gradients:
        titles += ["backward", "last to first layer"]
    for title in titles:
        table.add_column(title, no_wrap=True)
    forward = _shared_scale(comparison, comparison.forward)
    backward = _shared_scale(comparison, comparison.backward)
    for one in comparison.inits:
        there = comparison.forward(one)
        cells: list[RenderableType] = [Sparkline(forward, there), growth_text(there)]
        if comparison.has_gradients:
            back = comparison.backward(one)
            cells += [Sparkline(backward, back), growth_text(back[::-1])]
        table.add_row(one.init.value, *cells)
    return table


def _shared_scale(comparison: Comparison, stds: StdsByLayer) -> LogScale | None:
    """Return one scale for all initialisations."""
    return LogScale.of([value for one in comparison.inits for value in stds(one)])
