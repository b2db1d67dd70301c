"""The page of `lsuv compare`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsuv_cli.core.comparison import Comparison
from lsuv_cli.report.columns import Tone
from lsuv_cli.report.compare_table import StdsByLayer, comparison_columns
from lsuv_cli.report.page import Chart, Page, PageTable
from lsuv_cli.report.page_parts import depth_chart, first_notes, run_notes, run_sections
from lsuv_cli.report.words import comparison_details, growth_text

GRADIENT_TITLE = "Standard deviation of the gradient with respect to each layer's output, by depth"


def comparison_page(comparison: Comparison, command: str) -> Page:
    """Return the page of a run of `lsuv compare`.

    Args:
        comparison: the run's results.
        command: the command line that repeats it.
    """
    inits = [one.init.value for one in comparison.inits]
    return Page(
        title=f"Initialisations of {Path(comparison.model).name}",
        summary=f"Compared on {comparison.samples} samples: {', '.join(inits)}",
        tone=Tone.PLAIN,
        charts=tuple(_charts(comparison)),
        table=PageTable("Standard deviations", tuple(comparison_columns(comparison))),
        histograms=(),
        notes=tuple(_notes(comparison)),
        sections=run_sections(comparison),
        command=command,
    )


def _charts(comparison: Comparison) -> Iterator[Chart]:
    yield depth_chart(comparison.layers, _curves(comparison, comparison.forward))
    if comparison.has_gradients:
        curves = _curves(comparison, comparison.backward)
        yield depth_chart(comparison.layers, curves, GRADIENT_TITLE)


def _curves(comparison: Comparison, stds: StdsByLayer) -> dict[str, list[float | None]]:
    return {one.init.value: list(stds(one)) for one in comparison.inits}


def _notes(comparison: Comparison) -> Iterator[str]:
    for one in comparison.inits:
        text = f"{one.init}: forward {growth_text(comparison.forward(one))}"
        if comparison.has_gradients:
            text += f"; backward {growth_text(comparison.backward(one)[::-1])}"
        yield text
    yield from first_notes(comparison_details(comparison), "which --json lists")
    if comparison.no_gradients:
        yield f"gradients were not computed: {comparison.no_gradients}"
    if comparison.has_gradients:
        yield (
            f"the gradients are those of {comparison.gradient_samples} samples, for a random "
            "cotangent of unit variance at the model's output"
        )
    yield from run_notes(comparison)
