"""What has been measured so far, so that a run that was ended can go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lsuv_cli.core.indices import TapKey, TapKind
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Measurement, Measurements

Entry = Mapping[str, Any]


class Journal(Protocol):
    """The costly steps of a run, in the order in which they are always done."""

    def recall(self) -> Entry | None:
        """The next step's result from an earlier run; None where it has not been done yet."""

    def record(self, entry: Entry) -> None:
        """Keep a step's result.

        Args:
            entry: of numbers, texts, lists and mappings.
        """


class NoJournal:
    """Keeps nothing."""

    def recall(self) -> Entry | None:
        """Nothing has been done."""
        return None

    def record(self, entry: Entry) -> None:
        """Let it go."""


def moments_entry(moments: Moments) -> list[Any]:
    """Moments as numbers, none of which loses a digit."""
    return [moments.count, moments.mean.tolist(), moments.mean_square.tolist()]


def moments_of(entry: Sequence[Any]) -> Moments:
    """The inverse of `moments_entry`."""
    count, mean, square = entry
    return Moments(count, np.array(mean, np.float64), np.array(square, np.float64))


def measurements_entry(readings: Measurements) -> Entry:
    """What was measured in a segment."""
    return {
        "taps": [
            [key.kind.value, key.index, *moments_entry(one.moments), one.pending_layers]
            for key, one in readings.taps.items()
        ]
    }


def measurements_of(entry: Entry) -> Measurements:
    """The inverse of `measurements_entry`."""
    return Measurements(
        {
            TapKey(TapKind(kind), index): Measurement(moments_of(moments), tuple(pending))
            for kind, index, *moments, pending in entry["taps"]
        }
    )
