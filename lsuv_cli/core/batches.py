"""The samples of a run, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.records import Feeds, InputSpec, Specs

# For each input the shape of one sample, without the batch axis, and the dtype it is fed as.
SampleShapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


class Batches(Protocol):
    """The samples of this process, in batches.

    Attributes:
        total: samples of all processes together.
    """

    total: int

    @property
    def declared(self) -> int | None:
        """The number of samples that every batch has, since the model takes no other; else None."""

    @property
    def counts(self) -> Sequence[int]:
        """The number of samples in each batch."""

    def feeds(self, batch: int) -> Feeds:
        """Return an array for each input, as the model takes it; it must not be modified.

        Raises:
            DataError: a sample can't be read any more, or has changed.
        """

    @property
    def specs(self) -> Specs:
        """The inputs as they are fed, their batch axes open."""


class GivenBatches:
    """Batches that are in memory; see `Batches`."""

    def __init__(
        self, batches: Sequence[Feeds], specs: Specs | None = None, declared: int | None = None
    ) -> None:
        """Take batches.

        Args:
            batches: their feeds.
            specs: the inputs; None where the batch axis of each is the first.
            declared: see `Batches`.
        """
        self._batches = batches
        self.declared = declared
        self.specs = specs or {
            name: InputSpec(name, value.dtype.name, (None, *value.shape[1:]))
            for feeds in batches[:1]
            for name, value in feeds.items()
        }
        self.counts = [samples_in(feeds, self.specs) for feeds in batches]
        self.total = sum(self.counts)

    def feeds(self, batch: int) -> Feeds:
        """Return an array for each input."""
        return self._batches[batch]


class PlannedBatches:
    """Batches of which only the sizes are known; see `Batches`."""

    def __init__(self, counts: Sequence[int], specs: Specs, declared: int | None = None) -> None:
        self.total = sum(counts)
        self.specs = specs
        self.declared = declared
        self.counts = list(counts)

    def feeds(self, batch: int) -> Feeds:
        """Refuse, since there are no samples.

        Raises:
            LookupError: always.
        """
        raise LookupError(f"batch {batch} is only planned")


def declared_batch(specs: Iterable[InputSpec]) -> int | None:
    """Return the number of samples that a model declares; None where it takes any number.

    Args:
        specs: its inputs.

    Raises:
        ModelError: its inputs declare different numbers.
    """
    declared = {spec.name: spec.declared_batch for spec in specs if spec.declared_batch is not None}
    if len(set(declared.values())) > 1:
        numbers = ", ".join(f"{name} {size}" for name, size in declared.items())
        raise ModelError(
            f"the inputs declare different numbers of samples ({numbers}); say along which axis "
            f"the samples of one lie, or that it is the same for all: --batch-axis NAME=1, "
            "or NAME=none"
        )
    return next(iter(declared.values()), None)


def cut_counts(total: int, size: int) -> list[int]:
    """Return the sizes of batches of some samples; only the last may be smaller."""
    whole, rest = divmod(total, size)
    return [size] * whole + [rest] * (rest > 0)


def samples_in(feeds: Feeds, specs: Specs) -> int:
    """Return the number of samples in a batch."""
    name, axis = next(
        (name, spec.batch_axis) for name, spec in specs.items() if spec.batch_axis is not None
    )
    return int(feeds[name].shape[axis])


def with_batch_axes(rows: Feeds, specs: Specs) -> Feeds:
    """Return arrays whose first axis is the sample as the model takes them.

    Args:
        rows: the arrays; those of inputs that are the same for all samples are left as they are.
        specs: the inputs.
    """
    return {
        name: np.ascontiguousarray(np.moveaxis(value, 0, axis))
        if (axis := specs[name].batch_axis)
        else value
        for name, value in rows.items()
    }


def zeros(inputs: Iterable[InputSpec], count: int) -> GivenBatches:
    """Return a batch of zeros; sizes that are open are 1.

    Args:
        inputs: the inputs, whose ranks are known.
        count: the number of samples.
    """
    feeds: dict[str, NDArray[Any]] = {}
    specs: dict[str, InputSpec] = {}
    for spec in inputs:
        sizes = [size or 1 for size in spec.shape or ()]
        if spec.batch_axis is not None:
            sizes[spec.batch_axis] = count
        feeds[spec.name] = np.zeros(sizes, spec.dtype or "float32")
        specs[spec.name] = replace(spec.opened(), dtype=feeds[spec.name].dtype.name)
    return GivenBatches([feeds], specs)


def take_samples(feeds: Feeds, specs: Specs, numbers: Sequence[int]) -> Feeds:
    """Return some samples of a batch, by their positions; beyond its end it is repeated.

    Args:
        feeds: the batch.
        specs: the inputs.
        numbers: the positions.
    """
    return {
        name: value
        if (axis := specs[name].batch_axis) is None
        else np.take(value, numbers, axis, mode="wrap")
        for name, value in feeds.items()
    }


def first_samples(batches: Batches, count: int) -> Feeds:
    """Return the first samples of this process, across batches.

    Args:
        batches: the samples.
        count: their number, at most that of the samples.
    """
    parts: list[Feeds] = []
    missing, specs = count, batches.specs
    for batch, size in enumerate(batches.counts):
        if missing <= 0:
            break
        parts.append(take_samples(batches.feeds(batch), specs, range(min(size, missing))))
        missing -= size
    return {
        name: parts[0][name]
        if (axis := spec.batch_axis) is None
        else np.concatenate([part[name] for part in parts], axis)
        for name, spec in specs.items()
    }
