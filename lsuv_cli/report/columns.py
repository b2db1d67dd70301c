"""Columns of the tables by layer, which the terminal and the page show alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lsuv_cli.core.choices import Status
from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.records import Layer
from lsuv_cli.report.numbers import number, parameter_names, percentage, weight_shape


class Tone(StrEnum):
    """Tone of a cell or a sentence, which is shown by its colour."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"
    NOTE = "note"
    FAINT = "faint"


class Holds(StrEnum):
    """Contents of a column: numbers are sorted by their value, the rest by the text."""

    WORD = "word"
    NUMBER = "number"
    NAME = "name"
    SENTENCE = "sentence"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a column.

    Attributes:
        text: the text.
        value: the number by which a numeric column is sorted; None is sorted last.
        tone: its tone.
    """

    text: str
    value: float | None = None
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True)
class LayerColumn:
    """A column with one cell per layer.

    Attributes:
        title: the heading above it.
        cells: one per layer, in execution order.
        holds: the kind of its cells' contents.
    """

    title: str
    cells: tuple[Cell, ...]
    holds: Holds = Holds.WORD


STATUS_TONES = {
    Status.CONVERGED: Tone.GOOD,
    Status.WITHIN: Tone.GOOD,
    Status.SHARED: Tone.NOTE,
    Status.UNSCALED: Tone.NOTE,
    Status.EXCLUDED: Tone.FAINT,
    Status.FIXED: Tone.FAINT,
}


def text_column(title: str, texts: Iterable[str], holds: Holds = Holds.WORD) -> LayerColumn:
    """Return a column of texts, one per layer."""
    return LayerColumn(title, tuple(map(Cell, texts)), holds)


def number_column(
    title: str,
    values: Iterable[float | None],
    show: Callable[[float | None], str] = number,
) -> LayerColumn:
    """Return a column of numbers, which is sorted by their values.

    Args:
        title: the heading.
        values: one per layer; None where there is none.
        show: writes a value.
    """
    return LayerColumn(title, tuple(Cell(show(value), value) for value in values), Holds.NUMBER)


def status_column(statuses: Iterable[Status]) -> LayerColumn:
    """Return the column of the layers' statuses, each in its tone."""
    return LayerColumn(
        "status",
        tuple(Cell(one.value, tone=STATUS_TONES.get(one, Tone.BAD)) for one in statuses),
    )


def layer_columns(layers: Sequence[Layer]) -> tuple[LayerColumn, ...]:
    """Return the columns that say which layer a row is about: `layer`, `#` and `op`."""
    return (
        text_column("layer", (layer.name for layer in layers), Holds.NAME),
        number_column("#", range(1, len(layers) + 1), str),
        text_column("op", (layer.op for layer in layers)),
    )


def weight_columns(layers: Sequence[Layer]) -> tuple[LayerColumn, ...]:
    """Return the columns on the layers' weights: `weight`, its shape, and `parameter`, its name."""
    return (
        text_column("weight", map(weight_shape, layers)),
        text_column("parameter", map(parameter_names, layers), Holds.NAME),
    )


def distribution_columns(distributions: Iterable[Distribution | None]) -> tuple[LayerColumn, ...]:
    """Return the columns `dead` and `saturated`; None stands for a layer not looked at."""
    found = list(distributions)
    dead = [None if one is None else one.dead for one in found]
    saturated = [None if one is None else one.saturated for one in found]
    return (
        number_column("dead", dead, percentage),
        number_column("saturated", saturated, percentage),
    )


def reason_columns(reasons: Sequence[str]) -> tuple[LayerColumn, ...]:
    """Return the column `reason`, or nothing where no layer has one."""
    return (text_column("reason", reasons, Holds.SENTENCE),) if any(reasons) else ()
