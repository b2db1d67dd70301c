"""Samples that can be read in any order, as arrays to feed to the model."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.batches import SampleShapes
from lsuv_cli.core.records import Feeds, Specs

Arrays = Mapping[str, NDArray[Any]]


class Source(Protocol):
    """Samples that can be read in any order.

    Attributes:
        available: how many there are.
        shapes: for each input that takes samples the shape and dtype of one.
        specs: these inputs.
        constants: what each other input takes, whatever the samples are.
        channel_axis: the channels' axis in a batch; None where there are none.
    """

    available: int
    shapes: SampleShapes
    specs: Specs
    constants: Feeds
    channel_axis: int | None

    def name(self, sample: int) -> str:
        """Return the name of a sample in messages."""

    def version(self, sample: int) -> Hashable:
        """Return a value that changes when the file that a sample is in does.

        Its hash must be the same in every process: it is made of numbers, not of text.
        """

    def fill(self, samples: Sequence[int], batch: Arrays) -> dict[int, str]:
        """Read samples into a batch.

        Args:
            samples: their numbers.
            batch: for each input an array that has a row for each of them.

        Returns:
            For each row whose sample can't be read why; other rows are filled.
        """

    def close(self) -> None:
        """Release threads and files."""


def in_batches(samples: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield consecutive samples, `size` at a time; the last batch may have fewer."""
    for start in range(0, len(samples), size):
        yield samples[start : start + size]
