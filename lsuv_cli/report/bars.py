"""Bars for the terminal: a value by depth on a logarithmic scale, and a stroke for another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

from lsuv_cli.report.log_scale import LogScale

WIDTH = 10

EIGHTHS = " ▏▎▍▌▋▊▉█"
STROKE = "┃"
PLAIN, PLAIN_STROKE = "#", "|"


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the chart; drawn in ASCII where the terminal has nothing else.

    Attributes:
        scale: the scale of all lines.
        value: the value that the bar shows.
        mark: the value that the stroke shows; None for no stroke.
    """

    scale: LogScale
    value: float | None
    mark: float | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the bar."""
        cells = self._plain() if options.ascii_only else self._blocks()
        stroke = PLAIN_STROKE if options.ascii_only else STROKE
        if place := self._eighths(self.mark):
            cells[(place - 1) // 8] = stroke
        yield Segment("".join(cells))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return its width, which is fixed."""
        return Measurement(WIDTH, WIDTH)

    def _eighths(self, value: float | None) -> int:
        """Return the length in eighths of a character; 0 for a value without a place."""
        share = self.scale.share(value)
        return 0 if share is None else 1 + round(share * (8 * WIDTH - 1))

    def _blocks(self) -> list[str]:
        whole, rest = divmod(self._eighths(self.value), 8)
        filled = EIGHTHS[-1] * whole + (EIGHTHS[rest] if rest else "")
        return list(filled.ljust(WIDTH))

    def _plain(self) -> list[str]:
        return list((PLAIN * math.ceil(self._eighths(self.value) / 8)).ljust(WIDTH))


def bars(values: Sequence[float | None], marks: Sequence[float | None]) -> list[Bar] | None:
    """Return a bar with a stroke for each layer; None where no bar has a length."""
    scale = LogScale.of([*values, *marks])
    if scale is None or LogScale.of(values) is None:
        return None
    return [Bar(scale, *pair) for pair in zip(values, marks, strict=True)]
