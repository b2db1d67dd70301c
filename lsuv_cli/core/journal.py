"""Measurements kept while a run goes on, so that it can be resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lsuv_cli.core.indices import TapKey, TapKind
from lsuv_cli.core.measurements import Measurement, Measurements
from lsuv_cli.core.moments import Moments

Entry = Mapping[str, Any]


class Journal(Protocol):
    """The measurements of a run, in the order in which every such run makes them."""

    def recall(self) -> Entry | None:
        """Return the next measurement of an earlier run; None where it was not made yet."""

    def record(self, entry: Entry) -> None:
        """Keep a measurement.

        Args:
            entry: of numbers, texts, lists and mappings.
        """


class NoJournal:
    """Keeps nothing; see `Journal`."""

    def recall(self) -> Entry | None:
        """Return None."""
        return None

    def record(self, entry: Entry) -> None:
        """Discard the measurement."""


def moments_entry(moments: Moments) -> list[Any]:
    """Return moments as JSON numbers, exactly."""
    return [moments.count, moments.mean.tolist(), moments.mean_square.tolist()]


def moments_of(entry: Sequence[Any]) -> Moments:
    """Return the moments of a `moments_entry`."""
    count, mean, square = entry
    return Moments(count, np.array(mean, np.float64), np.array(square, np.float64))


def measurements_entry(measured: Measurements) -> Entry:
    """Return the measurements of a segment as JSON values."""
    return {
        "taps": [
            [key.kind.value, key.index, *moments_entry(one.moments), one.pending_layers]
            for key, one in measured.taps.items()
        ]
    }


def measurements_of(entry: Entry) -> Measurements:
    """Return the measurements of a `measurements_entry`."""
    return Measurements(
        {
            TapKey(TapKind(kind), index): Measurement(moments_of(moments), tuple(pending))
            for kind, index, *moments, pending in entry["taps"]
        }
    )
