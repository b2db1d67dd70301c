"""Contents of a report page, the same for all commands; `outputs.py` lists what writes it."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import TypeGuard

from lsuv_cli.report.columns import Cell, LayerColumn, Tone


@dataclass(frozen=True, slots=True)
class Curve:
    """A statistic by depth.

    Attributes:
        name: tells it from the chart's other curves, such as `before`.
        values: one per layer; None where there is none.
    """

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over the layers.

    Attributes:
        title: the heading above it.
        y_label: the values' name and unit.
        layers: the layers' names, in execution order.
        curves: each with one value per layer.
        targets: the value that each layer is to have, one per layer; empty where there is none.
        tolerated: (lowest, highest) value that still counts as the target, one pair per layer;
            empty where there is none.
        log: whether the values' axis is logarithmic.
    """

    title: str
    y_label: str
    layers: tuple[str, ...]
    curves: tuple[Curve, ...]
    targets: tuple[float, ...] = ()
    tolerated: tuple[tuple[float, float], ...] = ()
    log: bool = True

    def has_place(self, value: float | None) -> TypeGuard[float]:
        """Return whether a value can be drawn: NaN and infinity can't, nor zero on a log axis."""
        return value is not None and math.isfinite(value) and (value > 0 or not self.log)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Frequencies of values in bins.

    Attributes:
        name: tells it from the others of its layer, such as `before`.
        edges: the n + 1 edges of the bins, ascending.
        counts: the n bins' counts, or shares.
        series: the index of the curve in a chart whose colour it has.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[float, ...]
    series: int = 0


@dataclass(frozen=True, slots=True)
class LayerHistograms:
    """One layer's histograms; empty where nothing was measured."""

    layer: str
    histograms: tuple[Histogram, ...]


@dataclass(frozen=True, slots=True)
class PageTable:
    """The table by layer.

    Attributes:
        title: the heading above it.
        columns: at least one, of the same length; the cells of the first name their rows.
    """

    title: str
    columns: tuple[LayerColumn, ...]

    @property
    def rows(self) -> list[tuple[Cell, ...]]:
        """Return the rows, with one cell per column."""
        return list(zip(*(column.cells for column in self.columns), strict=True))


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and its value."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Section:
    """Facts that belong together."""

    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything on a report page, in its order.

    Attributes:
        title: the page's title.
        summary: the outcome in a sentence.
        tone: the outcome's tone.
        charts: curves by depth; at least one.
        table: the layers.
        histograms: one entry per layer; empty where none were made.
        notes: other facts that the reader must know, a sentence each.
        sections: options, versions, hashes and the like.
        command: the command line that repeats the run.
    """

    title: str
    summary: str
    tone: Tone
    charts: tuple[Chart, ...]
    table: PageTable
    histograms: tuple[LayerHistograms, ...]
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    command: str


def printable(text: str) -> str:
    """Return the text with each control character replaced by U+FFFD.

    Names in a model file may hold them; they can break lines, turn the direction of what follows,
    or be invalid in XML.
    """
    return "".join("\ufffd" if unicodedata.category(sign)[0] == "C" else sign for sign in text)
