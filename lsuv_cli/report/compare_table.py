"""What `lsuv compare` found, as tables for people."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from lsuv_cli.core.comparison import Comparison, Trial, growth
from lsuv_cli.report import words
from lsuv_cli.report.bars import Scale
from lsuv_cli.report.sparkline import Sparkline

FORWARD = "forward: standard deviation of each layer's output"
BACKWARD = "backward: standard deviation of the gradient by it"

Stds = Callable[[Trial], list[float | None]]


def tables(comparison: Comparison) -> Iterator[Table]:
    """By depth, forward and backward; then one row an initialisation."""
    yield _by_depth(comparison, FORWARD, comparison.forward)
    if comparison.has_gradients:
        yield _by_depth(comparison, BACKWARD, comparison.backward)
    yield _by_init(comparison)


def comparison_notes(comparison: Comparison) -> list[str]:
    """What LSUV could not do."""
    return [f"{trial.init}: {text}" for trial in comparison.trials for text in trial.failures]


def comparison_summary(comparison: Comparison, seconds: float) -> str:
    """One line on the whole."""
    layers = words.count_layers(comparison.layers)
    inits = ", ".join(trial.init.value for trial in comparison.trials)
    samples = f"{comparison.samples} samples"
    if comparison.has_gradients:
        samples += f", {comparison.gradient_samples} of them for gradients"
    return f"{layers} with {inits}: {samples}; in {seconds:.1f} s on {comparison.device}"


def std(value: float | None) -> str:
    """A standard deviation, or a dash where nothing was measured."""
    if value is None:
        return "-"
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def way(stds: Sequence[float | None]) -> str:
    """How a standard deviation changes from the first to the last; a dash where nothing tells."""
    found = growth(stds)
    if found is None:
        return "-"
    return f"{found.start:.2g} to {found.end:.2g}, x{found.factor:.2g}"


def _by_depth(comparison: Comparison, title: str, stds: Stds) -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=title,
        title_justify="left",
        title_style="bold",
    )
    table.add_column("layer", overflow="ellipsis")
    table.add_column("op", no_wrap=True)
    for trial in comparison.trials:
        table.add_column(trial.init.value, justify="right", no_wrap=True)
    columns = [stds(trial) for trial in comparison.trials]
    for index, planned in enumerate(comparison.layers):
        table.add_row(
            Text(planned.layer.name, no_wrap=True, overflow="ellipsis"),
            Text(planned.layer.op),
            *(std(column[index]) for column in columns),
        )
    return table


def _by_init(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("init", "forward", "first to last layer"):
        table.add_column(title, no_wrap=True)
    forward = _scale(comparison, comparison.forward)
    backward = _scale(comparison, comparison.backward)
    if comparison.has_gradients:
        for title in ("backward", "last to first layer"):
            table.add_column(title, no_wrap=True)
    for trial in comparison.trials:
        there = comparison.forward(trial)
        cells: list[RenderableType] = [Sparkline(forward, there), way(there)]
        if comparison.has_gradients:
            back = comparison.backward(trial)
            cells += [Sparkline(backward, back), way(back[::-1])]
        table.add_row(trial.init.value, *cells)
    return table


def _scale(comparison: Comparison, stds: Stds) -> Scale | None:
    """One for all initialisations."""
    return Scale.of([value for trial in comparison.trials for value in stds(trial)])
