"""Samples as the tests look at them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lsuv_cli.core.group import SingleProcess
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import Feeds, InputSpec, InputStatistics
from lsuv_cli.samples.batch import SampleBatches
from lsuv_cli.samples.open_samples import open_samples

RGB = InputSpec("x", "float32", (None, 3, 8, 8))


@dataclass
class Loaded:
    """One batch of samples, and facts about them."""

    feeds: Feeds
    sources: tuple[str, ...]
    available: int
    count: int
    statistics: tuple[InputStatistics, ...]
    skipped: tuple[tuple[str, str], ...]


def opened(
    *data: Path, specs: tuple[InputSpec, ...] = (RGB,), batch_size: int = 999, **options: Any
) -> SampleBatches:
    """Open samples without reading them."""
    wanted = SampleOptions(data=tuple(map(str, data)), **options)
    source, _ = open_samples(specs, wanted, 2)
    return SampleBatches(source, wanted, batch_size, 1 << 30)


def loaded(batches: SampleBatches) -> Loaded:
    """Read samples into one batch."""
    batches.read(SingleProcess(), lambda *_: None)
    sources = tuple(batches._source.name(sample) for sample in batches._batches[0].tolist())
    (count,) = batches.counts
    assert count == batches.total
    feeds, statistics = batches.feeds(0), batches.statistics
    return Loaded(feeds, sources, batches.available, count, statistics, batches.skipped)


def load(data: Path, *specs: InputSpec, **options: Any) -> Loaded:
    """Open samples and read them into one batch."""
    return loaded(opened(data, specs=specs or (RGB,), **options))
