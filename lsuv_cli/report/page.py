"""What a report page shows, whatever command it is of; how it is drawn and written is elsewhere."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeGuard

# NaN, infinity, and on a logarithmic scale zero are values without a place in a chart.
Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """A statistic by depth.

    Attributes:
        name: what tells it from the chart's other curves, such as `before`.
        values: one a layer; None where there is none.
    """

    name: str
    values: Values


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves over the layers.

    Attributes:
        title: what is shown.
        y_label: the values' name and unit.
        layers: the layers' names, in execution order.
        curves: each with one value a layer.
        targets: the value each layer is to have, one a layer; empty where there is none.
        tolerated: (lowest, highest) value that still counts as the target, one a layer; empty
            where there is none.
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
        """Whether a value can be drawn."""
        return value is not None and math.isfinite(value) and (value > 0 or not self.log)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often values fall into bins.

    Attributes:
        name: what tells it from the others of its layer, such as `before`.
        edges: the bins' n + 1 borders, ascending.
        counts: the n bins' counts, or shares.
        series: the place of the curve in a chart whose colour it has.
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


class Tone(StrEnum):
    """How a cell or a sentence is meant, beside what it says."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"


class Holds(StrEnum):
    """What the cells of a column hold: numbers are sorted by their value, the rest by the text."""

    WORD = "word"
    NUMBER = "number"
    NAME = "name"
    SENTENCE = "sentence"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        title: above it.
        holds: what its cells hold.
    """

    title: str
    holds: Holds = Holds.WORD


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the table.

    Attributes:
        text: what it says.
        value: what a numeric column is sorted by; None for nothing, which comes last.
        tone: how it is meant.
    """

    text: str
    value: float | None = None
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class Table:
    """The table by layer.

    Attributes:
        title: what it is a table of.
        columns: at least one; the cells of the first name their row.
        rows: one cell a column.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and what it is."""

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
        title: of the page.
        summary: the outcome in a sentence.
        tone: how the outcome is meant.
        charts: curves by depth.
        table: the layers.
        histograms: one entry a layer; empty where none were made.
        notes: what else the reader must know, a sentence each.
        sections: options, versions, hashes and the like.
        command: the command line that repeats the run.
    """

    title: str
    summary: str
    tone: Tone
    charts: tuple[Chart, ...]
    table: Table
    histograms: tuple[LayerHistograms, ...]
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    command: str


def printable(text: str) -> str:
    """The text without control characters, which a model file's names may hold.

    They can break lines, turn the direction of what follows, or be no valid XML.
    """
    return "".join("\ufffd" if unicodedata.category(sign)[0] == "C" else sign for sign in text)
