"""The samples of a run, in batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lsuv_cli.core.records import Feeds

# For each input the shape of one sample, without the batch axis, and the dtype it is fed as.
SampleShapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


class Batches(Protocol):
    """The samples of this process, in batches.

    Attributes:
        total: samples of all processes together.
    """

    total: int

    @property
    def counts(self) -> Sequence[int]:
        """The number of samples in each batch."""

    def feeds(self, batch: int) -> Feeds:
        """Return an array for each input, (samples, ...); it must not be modified.

        Raises:
            DataError: a sample can't be read any more, or has changed.
        """

    @property
    def specs(self) -> SampleShapes:
        """The shape and dtype of one sample, for each input."""


class GivenBatches:
    """Batches that are in memory; see `Batches`."""

    def __init__(self, batches: Sequence[Feeds]) -> None:
        self._batches = batches
        self.counts = [len(next(iter(feeds.values()))) for feeds in batches]
        self.total = sum(self.counts)
        self.specs = {name: (value.shape[1:], value.dtype) for name, value in batches[0].items()}

    def feeds(self, batch: int) -> Feeds:
        """Return an array for each input."""
        return self._batches[batch]


class PlannedBatches:
    """Batches of which only the sizes are known; see `Batches`."""

    def __init__(self, total: int, batch_size: int, specs: SampleShapes) -> None:
        self.total = total
        self.specs = specs
        whole, rest = divmod(total, batch_size)
        self.counts = [batch_size] * whole + [rest] * (rest > 0)

    def feeds(self, batch: int) -> Feeds:
        """Refuse, since there are no samples.

        Raises:
            LookupError: always.
        """
        raise LookupError(f"batch {batch} is only planned")


def first_samples(batches: Batches, count: int) -> Feeds:
    """Return the first samples of this process, across batches.

    Args:
        batches: the samples.
        count: their number, at most that of the samples.
    """
    parts: list[Feeds] = []
    missing = count
    for batch, size in enumerate(batches.counts):
        if missing <= 0:
            break
        parts.append({name: value[:missing] for name, value in batches.feeds(batch).items()})
        missing -= size
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
