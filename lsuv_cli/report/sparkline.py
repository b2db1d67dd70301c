"""Values by depth as a line of small columns, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

from lsuv_cli.report.log_scale import LogScale

# Of deeper networks this many layers are shown, evenly spread.
MOST_COLUMNS = 16

COLUMNS = "▁▂▃▄▅▆▇█"
PLAIN_COLUMNS = "_.-~=+*#"
GAP = " "


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A value by depth on a logarithmic scale; a gap for what has no place on it.

    Attributes:
        scale: shared by all lines to be compared; None where no value has a place.
        values: one per layer; None where it was not measured.
    """

    scale: LogScale | None
    values: Sequence[float | None]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the line."""
        columns = PLAIN_COLUMNS if options.ascii_only else COLUMNS
        yield Segment("".join(self._column(value, columns) for value in self._shown))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return its width, which is fixed."""
        width = len(self._shown)
        return Measurement(width, width)

    @property
    def _shown(self) -> list[float]:
        """Values of measured layers: the first, the last, and evenly spread ones between."""
        values = [value for value in self.values if value is not None]
        if len(values) <= MOST_COLUMNS:
            return values
        step = (len(values) - 1) / (MOST_COLUMNS - 1)
        return [values[round(number * step)] for number in range(MOST_COLUMNS)]

    def _column(self, value: float, columns: str) -> str:
        share = None if self.scale is None else self.scale.share(value)
        return GAP if share is None else columns[round(share * (len(columns) - 1))]
