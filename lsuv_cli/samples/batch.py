"""Samples, chosen and read in batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.batches import GivenBatches, with_batch_axes
from lsuv_cli.core.errors import DataError
from lsuv_cli.core.group import Group, total_of
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.preinit import generator
from lsuv_cli.core.records import Feeds, InputSpec, InputStatistics, Specs
from lsuv_cli.samples.fed_inputs import FedInputs
from lsuv_cli.samples.sample_versions import SampleVersions
from lsuv_cli.samples.source import Source, in_batches
from lsuv_cli.samples.statistics import InputMeter

Progress = Callable[[int, int], None]


class SampleBatches:
    """The chosen samples of this process, in batches; see `core.records.Batches`."""

    def __init__(
        self,
        source: Source,
        options: SampleOptions,
        batch_size: int,
        cache: int,
        declared: int | None = None,
        fed: FedInputs | None = None,
    ) -> None:
        """Begin with no sample chosen.

        Args:
            source: where they are.
            options: which are chosen.
            batch_size: samples in a batch; the last may have fewer.
            cache: bytes of read samples that are held in memory, so as not to be read again.
            declared: the number of samples that every batch has, `batch_size` then; those left
                over are passed over. None where the last batch may have fewer.
            fed: the inputs that options give a value, of which the source knows nothing; None for
                none.
        """
        self.total = 0
        self.declared = declared
        self.passed_over = 0
        self.skipped: tuple[tuple[str, str], ...] = ()
        self.statistics: tuple[InputStatistics, ...] = ()
        self._source = source
        self._options = options
        self._batch_size = batch_size
        self._cache_bytes_left = cache
        self._cached: dict[int, Feeds] = {}
        self._batches: list[NDArray[np.int64]] = []
        self._versions = SampleVersions(source)
        self._constants = {**source.constants, **(fed.constants if fed else {})}
        self._every_sample = fed.every_sample if fed else {}
        sampled = {**{spec.name: spec for spec in (fed.specs if fed else ())}, **source.specs}
        given = {name: (one.shape, one.dtype) for name, one in self._every_sample.items()}
        self.specs: Specs = {
            **{name: sampled[name].fed(*one) for name, one in {**source.shapes, **given}.items()},
            **{
                name: InputSpec(name, value.dtype.name, value.shape, None)
                for name, value in self._constants.items()
            },
        }

    @property
    def available(self) -> int:
        """Samples that were found, whether chosen or not."""
        return self._source.available

    @property
    def batch_size(self) -> int:
        """Samples in a batch; the last may have fewer."""
        return self._batch_size

    @property
    def counts(self) -> list[int]:
        """The number of samples in each batch."""
        return [len(batch) for batch in self._batches]

    def read(self, group: Group, progress: Progress) -> None:
        """Choose samples, and read each once to check it and to measure the inputs.

        Unreadable ones are replaced by others, as long as there are any.

        Args:
            group: the processes that share the samples.
            progress: called with (samples read, samples wanted) of this process.

        Raises:
            DataError: a sample can't be used, or none is left.
        """
        chosen, rest = self._drawn()
        chosen = self._whole_batches(np.sort(chosen))
        meters = [
            InputMeter(name, dtype, self._source.channel_axis)
            for name, (_, dtype) in self._source.shapes.items()
        ]
        wanted = len(self._share(chosen, group))
        kept = 0
        skipped: dict[int, str] = {}
        while len(chosen):
            mine = self._share(np.sort(chosen), group)
            missing = 0
            for samples in in_batches(mine, self._batch_size):
                feeds, reasons = self._fill(samples)
                readable = np.delete(np.arange(len(samples)), list(reasons))
                for meter in meters:
                    part = feeds[meter.name][readable] if reasons else feeds[meter.name]
                    meter.add(part, samples[readable].tolist(), self._source.name)
                if not skipped and not reasons:
                    self._cache(len(self._batches), feeds)
                self._batches.append(samples[readable])
                kept += len(readable)
                skipped |= {int(samples[row]): reason for row, reason in reasons.items()}
                missing += len(reasons)
                progress(kept, wanted)
            missing = total_of(missing, group)
            chosen, rest = rest[:missing], rest[missing:]
        self._settle(skipped, group)
        self.statistics = tuple(
            meter.statistics(group, self._source.shapes[meter.name][0]) for meter in meters
        )

    def _whole_batches(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return samples without those at the end that do not fill a batch of a declared size.

        Raises:
            DataError: none are left.
        """
        if self.declared is None:
            return samples
        left = len(samples) % self.declared
        if left == len(samples):
            raise DataError(
                f"the model takes exactly {self.declared} samples at a time, as its file declares, "
                f"and there are only {left}; give {self.declared} or more"
            )
        self.passed_over = left
        return samples[: len(samples) - left]

    def _share(self, samples: NDArray[np.int64], group: Group) -> NDArray[np.int64]:
        """Return this process's part of some samples, whole batches if their size is declared."""
        size = self.declared or 1
        whole = len(samples) // size * size
        parts = np.array_split(samples[:whole].reshape(-1, size), group.size)
        mine = parts[group.rank].ravel()
        return np.append(mine, samples[whole:]) if group.rank == group.size - 1 else mine

    def _drawn(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the chosen samples, in the order in which they are drawn, and the others."""
        order = generator(self._options.seed, "samples").permutation(self.available)
        chosen, rest = np.split(order, [min(self._options.count or len(order), len(order))])
        return chosen, rest

    def _settle(self, skipped: Mapping[int, str], group: Group) -> None:
        """Put the batches in the samples' own order, whatever order they were drawn in."""
        left = 0
        if skipped:
            self._cached.clear()
            kept = np.sort(np.concatenate(self._batches))
            left = len(kept) % (self.declared or 1)
            self._batches = list(in_batches(kept[: len(kept) - left], self._batch_size))
        self.passed_over += total_of(left, group)
        self._batches = [batch for batch in self._batches if len(batch)]
        ours = [(self._source.name(sample), reason) for sample, reason in skipped.items()]
        everything = [
            one for text in group.gather_text(json.dumps(ours)) for one in json.loads(text)
        ]
        self.skipped = tuple((name, reason) for name, reason in everything)
        self.total = total_of(sum(self.counts), group)
        if not self.total:
            name, reason = everything[0]
            raise DataError(
                f"none of the {len(everything)} pictures can be read; the first, {name}: {reason}"
            )

    def feeds(self, batch: int) -> Feeds:
        """Return an array for each input, as the model takes it; nobody modifies it.

        Raises:
            DataError: a sample can't be read any more, or is not what it was.
        """
        cached = self._cached.get(batch)
        if cached is not None:
            return self._fed(cached)
        samples = self._batches[batch]
        feeds, reasons = self._fill(samples)
        if reasons:
            row, reason = next(iter(reasons.items()))
            raise DataError(
                f"{self._source.name(samples[row])} could be read before and can't be any more: "
                f"{reason}"
            )
        self._cache(batch, feeds)
        return self._fed(feeds)

    def _fed(self, rows: Feeds) -> Feeds:
        """Return what the model is fed for some samples, of which each is a row."""
        count = len(next(iter(rows.values())))
        repeated = {
            name: np.broadcast_to(value, (count, *value.shape))
            for name, value in self._every_sample.items()
        }
        return {**with_batch_axes({**rows, **repeated}, self.specs), **self._constants}

    def fingerprint(self) -> str:
        """Return a digest that changes with the samples and their order."""
        digest = hashlib.sha256()
        for batch in self._batches:
            digest.update(batch.tobytes())
            digest.update(self._versions.hashes[batch].tobytes())
        for name, value in sorted({**self._every_sample, **self._constants}.items()):
            digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
        return digest.hexdigest()

    def few(self, count: int) -> GivenBatches:
        """Return a batch of some chosen samples, the same in every process, read already or not.

        Args:
            count: how many; where there are fewer, they are repeated. Those that can't be read are
                zero.
        """
        chosen, _ = self._drawn()
        feeds, unreadable = self._fill(np.resize(np.sort(chosen)[:count], count))
        for value in feeds.values():
            value[list(unreadable)] = 0
        return GivenBatches([self._fed(feeds)], self.specs)

    def example(self) -> Feeds:
        """Return the first batch, or any one sample where this process has none."""
        if self._batches:
            return self.feeds(0)
        return self._fed(self._fill(np.zeros(self.declared or 1, np.int64))[0])

    def regroup(self, batch_size: int, cache: int) -> None:
        """Regroup the samples into batches of another size.

        Args:
            batch_size: see `__init__`.
            cache: see `__init__`.
        """
        if batch_size != self._batch_size:
            self._cached.clear()
            samples = np.concatenate([np.zeros(0, np.int64), *self._batches])
            self._batches = list(in_batches(samples, batch_size))
        self._batch_size = batch_size
        self._cache_bytes_left = cache - sum(map(_nbytes, self._cached.values()))

    def close(self) -> None:
        """Release threads, files and memory."""
        self._source.close()
        self._cached.clear()

    def _cache(self, batch: int, feeds: Feeds) -> None:
        size = _nbytes(feeds)
        if size <= self._cache_bytes_left:
            self._cache_bytes_left -= size
            self._cached[batch] = feeds

    def _fill(self, samples: NDArray[np.int64]) -> tuple[dict[str, NDArray[Any]], dict[int, str]]:
        feeds = {
            name: np.empty((len(samples), *shape), dtype)
            for name, (shape, dtype) in self._source.shapes.items()
        }
        numbers: list[int] = samples.tolist()
        reasons = self._source.fill(numbers, feeds)
        for row, reason in reasons.items():
            if self._options.strict:
                name = self._source.name(numbers[row])
                raise DataError(f"can't read the picture {name}: {reason}")
        self._versions.refuse_changed([s for row, s in enumerate(numbers) if row not in reasons])
        return feeds, reasons


def _nbytes(feeds: Feeds) -> int:
    return sum(array.nbytes for array in feeds.values())
