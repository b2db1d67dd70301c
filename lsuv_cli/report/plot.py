"""Charts and histograms drawn by Matplotlib, without its global state; same input, same bytes."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import StepPatch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lsuv_cli.report.chart_words import describe
from lsuv_cli.report.page import Chart, Histogram, printable

# A pixel of the page is a unit of the drawing.
DPI = 72

# Less than this between the ends of a logarithmic axis would blow rounding up to a mountain.
LEAST_RATIO = 10.0

# On a shorter axis powers of ten alone are too few labels.
DECADES_OF_POWERS = 2.0

CHARACTER = 0.62  # a character's width in ems, roughly
HANDLE = 3  # the length of a curve's piece in the legend, in ems
LONGEST_NAME = 22
MARKED_LAYERS = 60

MARKERS = "osD^vPX*"
DASHES: tuple[tuple[float, ...], ...] = ((1, 0), (5, 2), (2, 1.5), (7, 2, 2, 2))

# No date, no version: neither may change the bytes.
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
DESCRIPTION = {"svg": "Description", "png": "Description", "pdf": "Subject"}


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours, as Matplotlib takes them.

    Attributes:
        background: behind everything; "none" for nothing.
        ink: text.
        muted: axes.
        grid: lines behind the curves.
        series: the curves', taken in turn.
    """

    background: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]


# Told apart by colour-blind readers (Okabe & Ito 2008, darkened where they are pale on white).
LIGHT_SERIES = ("#c1440e", "#0072b2", "#00795a", "#a6467f", "#7a6200", "#3b3b98")
PAPER = Palette("white", "#1a1a1a", "#5f5f5f", "#e3e3e3", LIGHT_SERIES)


@dataclass(frozen=True, slots=True)
class Shape:
    """A drawing's size and that of its text, in pixels."""

    width: float
    height: float
    font: float


WIDE = Shape(1040, 420, 12)
NARROW = Shape(340, 320, 10)


def draw_chart(chart: Chart, shape: Shape, palette: Palette) -> bytes:
    """The chart as SVG.

    The elements of curve i are in a group with the id `curve-i`, with a marker for each point
    where there are not too many.
    """
    with _styled():
        return _saved(_chart_figure(chart, shape, palette), "svg", {})


def save_chart(chart: Chart, file: BinaryIO, kind: str) -> None:
    """Write the chart, to be printed or shown elsewhere.

    Args:
        chart: what to draw.
        file: open for writing.
        kind: `png`, `svg` or `pdf`.

    Raises:
        OSError: it can't be written.
    """
    with _styled():
        words = {"Title": printable(chart.title), DESCRIPTION[kind]: printable(describe(chart))}
        figure = _chart_figure(chart, WIDE, PAPER)
        # In a page a heading says it.
        figure.legends[0].set_title(words["Title"], FontProperties(size=WIDE.font + 2))
        file.write(_saved(figure, kind, words))


def draw_histograms(
    layers: Iterable[Sequence[Histogram]], shape: Shape, palette: Palette
) -> Iterator[tuple[bytes, tuple[float, float]]]:
    """Each layer's histograms over one another, as SVG, with the range of their bins.

    The bins share one axis; each histogram is as high as the drawing, whatever its counts.
    """
    with _styled():
        # A new figure for each would take ten times as long.
        size = (shape.width / DPI, shape.height / DPI)
        figure = Figure(figsize=size, dpi=DPI, facecolor=palette.background)
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
            yield _saved(figure, "svg", {}), (low, high)
            for patch in patches:
                patch.remove()


def _steps(histograms: Sequence[Histogram], palette: Palette) -> Iterator[StepPatch]:
    for index, histogram in enumerate(histograms):
        highest = max(histogram.counts) or 1
        heights = [count / highest for count in histogram.counts]
        color = palette.series[index % len(palette.series)]
        yield StepPatch(
            heights, histogram.edges, facecolor=(color, 0.2), edgecolor=color, linewidth=1.2
        )


@contextmanager
def _styled() -> Iterator[None]:
    # It tells of its font cache and of names whose letters its font lacks; neither helps anybody.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        rcdefaults()  # a user's own settings must not change the bytes
        rcParams.update(
            {
                "axes.spines.right": False,
                "axes.spines.top": False,
                "font.family": "sans-serif",
                "font.sans-serif": ["DejaVu Sans"],
                "path.simplify": False,
                "pdf.fonttype": 42,
                "svg.fonttype": "none",
                "svg.hashsalt": "lsuv",
                "text.parse_math": False,  # layers may be called $x$
            }
        )
        yield


def _saved(figure: Figure, kind: str, words: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    resolution = DPI if kind == "svg" else 2 * DPI
    figure.savefig(buffer, format=kind, metadata={**METADATA[kind], **words}, dpi=resolution)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class _Names:
    """The layers' names below the chart.

    Attributes:
        texts: as they are written there.
        upright: whether they stand on end, being too wide.
        has_room: whether there is room for them even so.
        height: what they take more than a line, in pixels.
    """

    texts: Sequence[str]
    upright: bool
    has_room: bool
    height: float

    @classmethod
    def of(cls, layers: Sequence[str], shape: Shape) -> _Names:
        room = shape.width * 0.9 / max(1, len(layers))
        texts = [shortened(printable(name)) for name in layers]
        widest = max(map(len, texts), default=0) * CHARACTER * shape.font
        has_room = shape.font * 1.2 <= room
        upright = widest > room
        return cls(texts, upright, has_room, widest if upright and has_room else 0)


def _chart_figure(chart: Chart, shape: Shape, palette: Palette) -> Figure:
    names = _Names.of(chart.layers, shape)
    figure = Figure(
        figsize=(shape.width / DPI, (shape.height + names.height) / DPI),
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
            # A lone point between gaps has no line to show it.
            markersize=shape.font / 2 if marked else 2.5,
            markeredgewidth=0,
            label=curve.name,
            linestyle=(0, DASHES[index % len(DASHES)]),
            gid=f"curve-{index}",
        )
    if chart.targets:
        axes.step(
            depth,
            chart.targets,
            where="mid",
            color=palette.muted,
            linewidth=1,
            label="target",
            zorder=1,
        )
    _style_axes(axes, chart, shape, palette)
    _name_layers(axes, names, shape)
    figure.legend(
        loc="outside upper left",
        ncols=_legend_columns(chart, shape),
        frameon=False,
        fontsize=shape.font,
        labelcolor=palette.ink,
        handlelength=HANDLE,
        alignment="left",
    )
    return figure


def _legend_columns(chart: Chart, shape: Shape) -> int:
    """As many as have room beside each other."""
    names = [curve.name for curve in chart.curves] + ["target"] * bool(chart.targets)
    widest = max((len(printable(name)) for name in names), default=0)
    # Around the handle and the text Matplotlib leaves 2.8 ems.
    room = shape.width / shape.font / (widest * CHARACTER + HANDLE + 2.8)
    return max(1, min(len(names), int(room)))


def _style_axes(axes: Axes, chart: Chart, shape: Shape, palette: Palette) -> None:
    axes.grid(axis="y", color=palette.grid, linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(
        which="both", labelsize=shape.font, labelcolor=palette.ink, color=palette.muted
    )
    axes.spines[:].set_color(palette.muted)
    axes.set_ylabel(chart.y_label, fontsize=shape.font, color=palette.ink)
    axes.set_xlim(-0.5, len(chart.layers) - 0.5)
    if chart.log:
        _style_log_axis(axes, chart)


def _style_log_axis(axes: Axes, chart: Chart) -> None:
    values = [value for curve in chart.curves for value in curve.values]
    drawn = [value for value in (*values, *chart.targets) if chart.has_place(value)]
    low, high = math.log10(min(drawn, default=1.0)), math.log10(max(drawn, default=1.0))
    spare = max(0.0, math.log10(LEAST_RATIO) - (high - low)) / 2 + 0.15
    axes.set_yscale("log")
    axes.set_ylim(10 ** (low - spare), 10 ** (high + spare))
    subs = (1, 2, 5) if high - low + 2 * spare < DECADES_OF_POWERS else (1,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _name_layers(axes: Axes, names: _Names, shape: Shape) -> None:
    """Names where there is room for all, or else numbers of some."""
    depth = range(len(names.texts))
    label = "layer, in execution order"
    if names.has_room:
        axes.set_xticks(depth, names.texts, rotation=90 if names.upright else 0)
    else:
        step = _round_step(len(depth) * shape.font * CHARACTER * 4 / shape.width)
        ticks = [0, *depth[step - 1 :: step]] if step > 1 else depth
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
        label = "layer's number, in execution order"
    axes.set_xlabel(label, fontsize=shape.font, color=axes.yaxis.label.get_color())


def _round_step(least: float) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is not less."""
    decade = int(10 ** math.floor(math.log10(max(least, 1))))
    return next(factor * decade for factor in (1, 2, 5, 10) if factor * decade >= least)


def shortened(name: str) -> str:
    """The name, without its middle where it is long: ends tell layers apart."""
    if len(name) <= LONGEST_NAME:
        return name
    head = LONGEST_NAME // 3
    return f"{name[:head]}…{name[head + 1 - LONGEST_NAME :]}"
