"""Charts drawn by Matplotlib; the same chart gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lsuv_cli.report.chart_words import describe
from lsuv_cli.report.log_scale import LEAST_RATIO
from lsuv_cli.report.page import Chart, printable
from lsuv_cli.report.plot_style import DPI, PAPER, DrawingSize, Palette, saved, styled

# (decades, multiples): on an axis of at most so many decades, powers of ten alone would be too few
# labels, and there is space for these multiples of them.
MULTIPLES = ((2.0, (1, 2, 5)), (4.0, (1, 3)))

CHARACTER = 0.62  # approximate width of a character, in ems
HANDLE = 3  # length of a line in the legend, in ems
LONGEST_NAME = 22
MARKED_LAYERS = 60

MARKERS = "osD^vPX*"
DASHES: tuple[tuple[float, ...], ...] = ((1, 0), (5, 2), (2, 1.5), (7, 2, 2, 2))

DESCRIPTION = {"svg": "Description", "png": "Description", "pdf": "Subject"}


CHART_SIZE = DrawingSize(1040, 420, 12)


def draw_chart(chart: Chart, palette: Palette) -> bytes:
    """Return the chart as SVG.

    The elements of curve i are in a group with the id `curve-i`, with a marker for each point.
    """
    with styled():
        return saved(_chart_figure(chart, palette), "svg", {})


def save_chart(chart: Chart, file: BinaryIO, kind: str) -> None:
    """Write the chart to a file, with its title.

    Args:
        chart: what to draw.
        file: open for writing.
        kind: `png`, `svg` or `pdf`.

    Raises:
        OSError: the file can't be written.
    """
    with styled():
        words = {"Title": printable(chart.title), DESCRIPTION[kind]: printable(describe(chart))}
        figure = _chart_figure(chart, PAPER)
        # On a page a heading shows it.
        figure.legends[0].set_title(words["Title"], FontProperties(size=CHART_SIZE.font + 2))
        file.write(saved(figure, kind, words))


@dataclass(frozen=True, slots=True)
class _Names:
    """Names of the layers below the chart.

    Attributes:
        texts: the names, shortened where they are long.
        upright: whether they are vertical, being too wide to be horizontal.
        fit: whether there is space for all of them.
        height: the height that they add to the chart, in pixels.
    """

    texts: Sequence[str]
    upright: bool
    fit: bool
    height: float

    @classmethod
    def of(cls, layers: Sequence[str], size: DrawingSize) -> _Names:
        """Return the names of some layers as they fit below a drawing."""
        space = size.width * 0.9 / max(1, len(layers))
        texts = [shortened(printable(name)) for name in layers]
        widest = max(map(len, texts), default=0) * CHARACTER * size.font
        fit = size.font * 1.2 <= space
        upright = widest > space
        return cls(texts, upright, fit, widest if upright and fit else 0)


def _chart_figure(chart: Chart, palette: Palette) -> Figure:
    size = CHART_SIZE
    names = _Names.of(chart.layers, size)
    figure = Figure(
        figsize=(size.width / DPI, (size.height + names.height) / DPI),
        dpi=DPI,
        layout="constrained",
        facecolor=palette.background,
    )
    axes = figure.add_subplot(facecolor="none")
    depth = range(len(chart.layers))
    marked = len(chart.layers) <= MARKED_LAYERS
    for index, curve in enumerate(chart.curves):
        axes.plot(
            depth,
            [value if chart.has_place(value) else math.nan for value in curve.values],
            color=palette.series[index % len(palette.series)],
            linewidth=2,
            marker=MARKERS[index % len(MARKERS)],
            # A single point between gaps has no line to show it.
            markersize=size.font / 2 if marked else 2.5,
            markeredgewidth=0,
            label=curve.name,
            linestyle=(0, DASHES[index % len(DASHES)]),
            gid=f"curve-{index}",
        )
    _draw_targets(axes, chart, palette)
    _style_axes(axes, chart, size, palette)
    _name_layers(axes, names, size)
    figure.legend(
        loc="outside upper left",
        ncols=_legend_columns(chart, size),
        frameon=False,
        fontsize=size.font,
        labelcolor=palette.ink,
        handlelength=HANDLE,
        alignment="left",
    )
    return figure


def _draw_targets(axes: Axes, chart: Chart, palette: Palette) -> None:
    """Draw targets and tolerances as steps, each as wide as its layer."""
    borders = [place - 0.5 for place in range(len(chart.layers) + 1)]
    if chart.targets:
        axes.step(
            borders,
            [*chart.targets, chart.targets[-1]],
            where="post",
            color=palette.muted,
            linewidth=1,
            label="target",
            zorder=1,
        )
    if chart.tolerated:
        lows, highs = zip(*chart.tolerated, chart.tolerated[-1], strict=True)
        axes.fill_between(
            borders,
            lows,
            highs,
            step="post",
            color=palette.muted,
            alpha=0.25,
            linewidth=0,
            label="tolerated",
            zorder=1,
        )


def _legend_columns(chart: Chart, size: DrawingSize) -> int:
    """Return the number of legend entries that fit beside each other."""
    names = [curve.name for curve in chart.curves]
    names += ["target"] * bool(chart.targets) + ["tolerated"] * bool(chart.tolerated)
    widest = max((len(printable(name)) for name in names), default=0)
    # Matplotlib leaves 2.8 ems around the handle and the text.
    fitting = size.width / size.font / (widest * CHARACTER + HANDLE + 2.8)
    return max(1, min(len(names), int(fitting)))


def _style_axes(axes: Axes, chart: Chart, size: DrawingSize, palette: Palette) -> None:
    axes.grid(axis="y", color=palette.grid, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=size.font, labelcolor=palette.ink, color=palette.muted)
    axes.spines[:].set_color(palette.muted)
    axes.set_ylabel(chart.y_label, fontsize=size.font, color=palette.ink)
    axes.set_xlim(-0.5, len(chart.layers) - 0.5)
    if chart.log:
        _style_log_axis(axes, chart)


def _style_log_axis(axes: Axes, chart: Chart) -> None:
    values = [value for curve in chart.curves for value in curve.values]
    wanted = [*chart.targets, *(bound for bounds in chart.tolerated for bound in bounds)]
    drawn = [value for value in (*values, *wanted) if chart.has_place(value)]
    low, high = math.log10(min(drawn, default=1.0)), math.log10(max(drawn, default=1.0))
    spare = max(0.0, math.log10(LEAST_RATIO) - (high - low)) / 2 + 0.15
    axes.set_yscale("log")
    axes.set_ylim(10 ** (low - spare), 10 ** (high + spare))
    decades = high - low + 2 * spare
    subs = next((subs for most, subs in MULTIPLES if decades <= most), (1,))
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _name_layers(axes: Axes, names: _Names, size: DrawingSize) -> None:
    """Label the axis with all names where they fit, or else with the numbers of some layers."""
    depth = range(len(names.texts))
    label = "layer, in execution order"
    if names.fit:
        axes.set_xticks(depth, names.texts, rotation=90 if names.upright else 0)
    else:
        step = _round_step(len(depth) * size.font * CHARACTER * 4 / size.width)
        ticks = [0, *depth[step - 1 :: step]] if step > 1 else depth
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
        label = "layer's number, in execution order"
    axes.set_xlabel(label, fontsize=size.font, color=axes.yaxis.label.get_color())


def _round_step(least: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50, ... that is at least `least`."""
    decade = int(10 ** math.floor(math.log10(max(least, 1))))
    return next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= least)


def shortened(name: str) -> str:
    """Return the name, without its middle where it is long: ends tell layers apart."""
    if len(name) <= LONGEST_NAME:
        return name
    head = LONGEST_NAME // 3
    return f"{name[:head]}…{name[head + 1 - LONGEST_NAME :]}"
