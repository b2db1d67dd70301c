"""What `lsuv compare` found, as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lsuv_cli.core.comparison import Comparison
from lsuv_cli.report.compare_table import comparison_notes, std, way
from lsuv_cli.report.page import Cell, Chart, Column, Curve, Holds, Page, Table, Tone
from lsuv_cli.report.sections import (
    LAYER_COLUMNS,
    first_notes,
    layer_cells,
    model_section,
    run_notes,
    run_sections,
)


def comparison_page(comparison: Comparison, command: str) -> Page:
    """Everything that a run of `lsuv compare` has to say, as a page.

    Args:
        comparison: what was found.
        command: the command line that repeats it.
    """
    inits = [trial.init.value for trial in comparison.trials]
    return Page(
        title=f"Initialisations of {Path(comparison.model).name}",
        summary=f"Compared on {comparison.samples} samples: {', '.join(inits)}",
        tone=Tone.PLAIN,
        charts=tuple(_charts(comparison)),
        table=_table(comparison),
        histograms=(),
        notes=tuple(_notes(comparison)),
        sections=(model_section(comparison), *run_sections(comparison)),
        command=command,
    )


def _charts(comparison: Comparison) -> Iterator[Chart]:
    layers = tuple(planned.layer.name for planned in comparison.layers)
    halves = [("Standard deviation of each layer's output, by depth", comparison.forward)]
    if comparison.has_gradients:
        title = "Standard deviation of the gradient by each layer's output, by depth"
        halves.append((title, comparison.backward))
    for title, stds in halves:
        curves = tuple(Curve(trial.init.value, tuple(stds(trial))) for trial in comparison.trials)
        yield Chart(title=title, y_label="standard deviation", layers=layers, curves=curves)


def _table(comparison: Comparison) -> Table:
    halves = [("forward", comparison.forward)]
    if comparison.has_gradients:
        halves.append(("backward", comparison.backward))
    columns = list(LAYER_COLUMNS)
    values: list[Sequence[float | None]] = []
    for half, stds in halves:
        for trial in comparison.trials:
            columns.append(Column(f"{trial.init} {half}", Holds.NUMBER))
            values.append(stds(trial))
    rows = tuple(
        (
            *layer_cells(index, planned.layer),
            *(Cell(std(column[index]), column[index]) for column in values),
        )
        for index, planned in enumerate(comparison.layers)
    )
    return Table("Standard deviations", tuple(columns), rows)


def _notes(comparison: Comparison) -> Iterator[str]:
    for trial in comparison.trials:
        text = f"{trial.init}: forward {way(comparison.forward(trial))}"
        if comparison.has_gradients:
            text += f"; backward {way(comparison.backward(trial)[::-1])}"
        yield text
    yield from first_notes(comparison_notes(comparison), "which --json lists")
    if comparison.no_gradients:
        yield f"the forward half only: {comparison.no_gradients}"
    if comparison.has_gradients:
        yield (
            f"the gradients are those of {comparison.gradient_samples} samples, for a random "
            "cotangent of unit variance at the model's output"
        )
    yield from run_notes(comparison)
