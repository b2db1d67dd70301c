"""Small histograms drawn by Matplotlib, one per layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from lsuv_cli.report.page import Histogram
from lsuv_cli.report.plot_style import DPI, DrawingSize, Palette, saved, styled


def draw_histograms(
    layers: Iterable[Sequence[Histogram]], size: DrawingSize, palette: Palette
) -> Iterator[tuple[bytes, tuple[float, float]]]:
    """Yield each layer's histograms over one another, as SVG, with the range of their bins.

    The bins share one axis; each histogram is as high as the drawing, whatever its counts.
    """
    with styled():
        # A new figure for each would take ten times as long.
        inches = (size.width / DPI, size.height / DPI)
        figure = Figure(figsize=inches, dpi=DPI, facecolor=palette.background)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_ylim(0, 1.05)
        for histograms in layers:
            low = min(histogram.edges[0] for histogram in histograms)
            high = max(histogram.edges[-1] for histogram in histograms)
            axes.set_xlim(low, high)
            patches = list(_steps(histograms, palette))
            for patch in patches:
                axes.add_artist(patch)
            yield saved(figure, "svg", {}), (low, high)
            for patch in patches:
                patch.remove()


def _steps(histograms: Sequence[Histogram], palette: Palette) -> Iterator[StepPatch]:
    for histogram in histograms:
        highest = max(histogram.counts) or 1
        heights = [count / highest for count in histogram.counts]
        color = palette.series[histogram.series % len(palette.series)]
        yield StepPatch(
            heights, histogram.edges, facecolor=(color, 0.2), edgecolor=color, linewidth=1.2
        )
