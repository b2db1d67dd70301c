"""Bars for the terminal: a value by depth on a logarithmic scale, and a stroke for another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

WIDTH = 10

# Less than this between the ends of the scale would blow rounding up to a mountain.
LEAST_RATIO = 10.0

EIGHTHS = " ▏▎▍▌▋▊▉█"
STROKE = "┃"
PLAIN, PLAIN_STROKE = "#", "|"


@dataclass(frozen=True, slots=True)
class Scale:
    """A logarithmic scale: `low` has a bar of an eighth of a character, `high` one of all."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Scale | None:
        """The scale on which every positive finite value has a place; None without any."""
        placed = [value for value in values if _has_logarithm(value)]
        if not placed:
            return None
        high = max(placed)
        return cls(min(*placed, high / LEAST_RATIO), high)

    def eighths(self, value: float | None) -> int:
        """The bar's length in eighths of a character; 0 for what has no place."""
        share = self.share(value)
        return 0 if share is None else 1 + round(share * (8 * WIDTH - 1))

    def share(self, value: float | None) -> float | None:
        """Where on the scale a value is, from 0 to 1; None for what has no place."""
        if not _has_logarithm(value):
            return None
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the chart; in plain characters where the terminal has no others.

    Attributes:
        scale: shared by all lines.
        value: the bar's.
        mark: the stroke's; None for none.
    """

    scale: Scale
    value: float | None
    mark: float | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws itself."""
        cells = self._plain() if options.ascii_only else self._blocks()
        stroke = PLAIN_STROKE if options.ascii_only else STROKE
        if place := self.scale.eighths(self.mark):
            cells[(place - 1) // 8] = stroke
        yield Segment("".join(cells))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Its width, which does not bend."""
        return Measurement(WIDTH, WIDTH)

    def _blocks(self) -> list[str]:
        whole, rest = divmod(self.scale.eighths(self.value), 8)
        filled = EIGHTHS[-1] * whole + (EIGHTHS[rest] if rest else "")
        return list(filled.ljust(WIDTH))

    def _plain(self) -> list[str]:
        return list((PLAIN * math.ceil(self.scale.eighths(self.value) / 8)).ljust(WIDTH))


def bars(values: Sequence[float | None], marks: Sequence[float | None]) -> list[Bar] | None:
    """A bar and a stroke for each layer, in execution order; None where no bar has a length."""
    scale = Scale.of([*values, *marks])
    if scale is None or Scale.of(values) is None:
        return None
    return [Bar(scale, *pair) for pair in zip(values, marks, strict=True)]


def _has_logarithm(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value > 0
