"""Report page as one HTML file, which loads nothing and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from lsuv_cli.report.chart_words import undrawn
from lsuv_cli.report.histogram_plot import draw_histograms
from lsuv_cli.report.numbers import number
from lsuv_cli.report.page import Chart, LayerHistograms, Page, printable
from lsuv_cli.report.plot import draw_chart
from lsuv_cli.report.plot_style import LIGHT_SERIES, DrawingSize, Palette
from lsuv_cli.report.svg import StyleSheet, chart_element, histogram_element

HISTOGRAM_SIZE = DrawingSize(160, 64, 10)

# More histograms would push what follows them far down.
OPEN_HISTOGRAMS = 24

NAME_PARTS = re.compile(r"(?<=[/._:])")

# Colours that the page's CSS variables replace once the drawing is in the page.
PLACEHOLDERS = Palette(
    background="none",
    ink="#010101",
    muted="#010102",
    grid="#010103",
    series=tuple(f"#0102{index:02x}" for index in range(len(LIGHT_SERIES))),
)


@dataclass(frozen=True, slots=True)
class _Figure:
    """A chart in the page, with a sentence on the values that are not drawn."""

    chart: Chart
    drawing: Markup
    gaps: str


@dataclass(frozen=True, slots=True)
class _LayerFigure:
    """A layer's histograms in the page; an empty drawing where there are none."""

    layer: str
    drawing: Markup
    low: str
    high: str


def render_page(page: Page) -> str:
    """Return the page as HTML text.

    Names are always shown as text: the template escapes them, and a Content-Security-Policy forbids
    to run or to load anything but the page's own script and style.
    """
    styles = StyleSheet(_variables())
    figures = [_figure(chart, f"chart-{i}", styles) for i, chart in enumerate(page.charts)]
    small = list(_histograms(page.histograms, styles))
    sheet = Markup(f"{_resource('page.css')}{_name_width(page)}\n{styles.text()}\n")  # noqa: S704
    script = Markup(_resource("page.js"))  # noqa: S704 - our own
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_printable,
    )
    environment.filters["breakable"] = _breakable
    return environment.from_string(_resource("page.html.jinja")).render(
        page=page,
        figures=figures,
        histograms=small,
        names=sorted({(h.series, h.name) for one in page.histograms for h in one.histograms}),
        open_histograms=len(small) <= OPEN_HISTOGRAMS,
        sheet=sheet,
        script=script,
        sheet_hash=_hash(sheet),
        script_hash=_hash(script),
    )


def _name_width(page: Page) -> str:
    """Return the first column's width as CSS; without it, names break where numbers are wide."""
    return f":root {{ --longest-name: {max(len(row[0].text) for row in page.table.rows)}ch; }}"


def _variables() -> Mapping[str, str]:
    named = {
        getattr(PLACEHOLDERS, one.name): f"--{one.name}"
        for one in fields(PLACEHOLDERS)
        if one.name not in {"background", "series"}
    }
    return named | {color: f"--series-{i}" for i, color in enumerate(PLACEHOLDERS.series)}


def _figure(chart: Chart, name: str, styles: StyleSheet) -> _Figure:
    element = chart_element(draw_chart(chart, PLACEHOLDERS), chart, name, styles)
    drawing = Markup(element)  # noqa: S704 - an XML library wrote and escaped it
    return _Figure(chart, drawing, undrawn(chart))


def _histograms(layers: tuple[LayerHistograms, ...], styles: StyleSheet) -> Iterator[_LayerFigure]:
    drawings = draw_histograms(
        (one.histograms for one in layers if one.histograms), HISTOGRAM_SIZE, PLACEHOLDERS
    )
    for index, one in enumerate(layers):
        if not one.histograms:
            yield _LayerFigure(one.layer, Markup(), "", "")
            continue
        drawn, (low, high) = next(drawings)
        names = " and ".join(histogram.name for histogram in one.histograms)
        words = f"{one.layer}, {names}: histogram from {number(low)} to {number(high)}"
        element = histogram_element(drawn, f"histogram-{index}", styles, words)
        yield _LayerFigure(one.layer, Markup(element), number(low), number(high))  # noqa: S704


def _resource(name: str) -> str:
    return resources.files("lsuv_cli.report").joinpath(name).read_text("utf-8")


def _printable(value: object) -> object:
    return value if isinstance(value, Markup) else printable(str(value))


def _breakable(name: str) -> Markup:
    """Return a name as markup in which lines may break after its parts."""
    return Markup("<wbr>").join(map(printable, NAME_PARTS.split(name)))


def _hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy allows an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
