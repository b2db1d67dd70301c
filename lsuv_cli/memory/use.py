"""The memory that a model takes while it runs, as a straight line in the number of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lsuv_cli.core.group import Group

# Bytes that a first run takes, whatever the graph: code, threads and small buffers.
RUNNING_BYTES = 5 << 20

# Memory resident over what the values alive take: the arena grows by powers of two, and small
# values lie scattered over it. Measured: 1.3 to 2.1 (`benchmarks/predicted_memory.py`).
ARENA_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """Bytes for n samples: `fixed + per_sample * n`."""

    fixed: float
    per_sample: float

    def bytes(self, samples: int) -> int:
        """Return the bytes for a number of samples, 0 at least."""
        return max(0, math.ceil(self.fixed + self.per_sample * samples))


def line_through(points: Mapping[int, int]) -> Line:
    """Return the line through the bytes measured for the smallest and the largest of some batches.

    Args:
        points: bytes by the number of samples; one point alone is joined to the origin, which is an
            upper bound for larger batches.
    """
    low, high = min(points), max(points)
    if low == high:
        return Line(0.0, points[low] / low)
    per_sample = (points[high] - points[low]) / (high - low)
    return Line(points[low] - per_sample * low, per_sample)


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """The memory of a run with taps behind all layers, weights not included.

    Attributes:
        live: the values alive at one time, at most.
        peak: what the arena has in use, at most, with the operators' own buffers.
        fed: what is fed and fetched, outside the arena.
        values: each of the model's values; those of unknown size are missing.
        caveat: why it is not measured but computed, or why not known in full; "" where it is.
    """

    live: Line
    peak: Line
    fed: Line
    values: Mapping[str, Line]
    caveat: str = ""

    def bytes(self, samples: int) -> int:
        """Return the bytes that a batch takes while it runs."""
        arena = max(math.ceil(ARENA_FACTOR * self.live.bytes(samples)), self.peak.bytes(samples))
        return RUNNING_BYTES + self.fed.bytes(samples) + arena

    def agreed(self, group: Group) -> MemoryUse:
        """Return the largest that any process has measured, so that all choose the same batches."""
        lines = (self.live, self.peak, self.fed)
        mine = np.array([[line.fixed, line.per_sample] for line in lines]).ravel()
        largest = np.max(group.gather(mine), axis=0).reshape(len(lines), 2).tolist()
        live, peak, fed = (Line(fixed, per_sample) for fixed, per_sample in largest)
        return replace(self, live=live, peak=peak, fed=fed)
