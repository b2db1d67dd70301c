"""A logarithmic scale for values by depth, which bars and sparklines share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

# A shorter scale would blow rounding errors up to mountains.
LEAST_RATIO = 10.0


@dataclass(frozen=True, slots=True)
class LogScale:
    """A logarithmic scale from `low` to `high`, both positive and finite."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> LogScale | None:
        """Return the scale on which every positive finite value has a place; None without any."""
        placed = [value for value in values if _has_logarithm(value)]
        if not placed:
            return None
        high = max(placed)
        return cls(min(*placed, high / LEAST_RATIO), high)

    def share(self, value: float | None) -> float | None:
        """Return the place of a value on the scale, from 0 to 1; None where it has none."""
        if not _has_logarithm(value):
            return None
        return math.log(value / self.low) / math.log(self.high / self.low)


def _has_logarithm(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value > 0
