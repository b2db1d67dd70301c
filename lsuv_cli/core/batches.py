"""Samples as the engine wants them."""

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
        """An array for each input, whose first axis is the sample; not modified by anyone.

        Raises:
            DataError: a sample can't be read any more, or is not what it was.
        """

    @property
    def specs(self) -> SampleShapes:
        """What a sample is, for each input."""


class GivenBatches:
    """Batches that are there already; see `Batches`."""

    def __init__(self, batches: Sequence[Feeds]) -> None:
        self._batches = batches
        self.counts = [len(next(iter(feeds.values()))) for feeds in batches]
        self.total = sum(self.counts)
        self.specs = {name: (value.shape[1:], value.dtype) for name, value in batches[0].items()}

    def feeds(self, batch: int) -> Feeds:
        """An array for each input."""
        return self._batches[batch]


class PlannedBatches:
    """Batches of which only the sizes are known; see `Batches`."""

    def __init__(self, total: int, batch_size: int, specs: SampleShapes) -> None:
        self.total = total
        self.specs = specs
        whole, rest = divmod(total, batch_size)
        self.counts = [batch_size] * whole + [rest] * (rest > 0)

    def feeds(self, batch: int) -> Feeds:
        """There are none.

        Raises:
            LookupError: always.
        """
        raise LookupError(f"batch {batch} is only planned")


def first_samples(batches: Batches, count: int) -> Feeds:
    """The first samples of this process, whatever batches they are in.

    Args:
        batches: the samples.
        count: how many; not more than there are.
    """
    parts: list[Feeds] = []
    missing = count
    for batch, size in enumerate(batches.counts):
        if missing <= 0:
            break
        parts.append({name: value[:missing] for name, value in batches.feeds(batch).items()})
        missing -= size
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
