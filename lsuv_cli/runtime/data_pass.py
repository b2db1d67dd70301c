"""One pass of all batches through the segments of a graph, one segment after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lsuv_cli.core.batches import Batches
from lsuv_cli.core.group import Group
from lsuv_cli.core.measurements import InstrumentedGraph, Measurement, Measurements, Tap
from lsuv_cli.core.merging import BatchMerge
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import InputSpec, Specs
from lsuv_cli.runtime.device_array import Value
from lsuv_cli.runtime.devices import Device
from lsuv_cli.runtime.gathering import Suspects, moments_of_all, suspects_of_all
from lsuv_cli.runtime.prefetch import Prefetch
from lsuv_cli.runtime.session import Session
from lsuv_cli.runtime.store import ValueStore

# Takes the number of segments before the graph, and its feeds.
Build = Callable[[int, Specs], InstrumentedGraph]

Values = Mapping[str, Value]


@dataclass(slots=True)
class PassStats:
    """Counters of the work done in a pass.

    Attributes:
        executions: how many times this process has run a node of the model.
        repeated: those that had been done before, whose values had not been kept.
        waited_seconds: in which nothing was computed, because a batch had not been loaded yet.
    """

    executions: int = 0
    repeated: int = 0
    waited_seconds: float = 0.0


class DataPass:
    """One pass of all batches through all segments, from the inputs to the last layer."""

    def __init__(
        self,
        batches: Batches,
        store: ValueStore,
        group: Group,
        device: Device,
        advance: Callable[[int, int], None],
    ) -> None:
        """Begin at the inputs.

        Args:
            batches: the samples.
            store: keeps the values between segments; emptied.
            group: the processes that share the samples.
            device: where graphs run.
            advance: called with (batches run, batches to run) of the segment that is running.
        """
        self.stats = PassStats()
        self._batches = batches
        self._store = store
        self._group = group
        self._device = device
        self._advance = advance
        store.clear()

    def run(
        self,
        position: int,
        leaving: Collection[str],
        build: Build,
        ill_conditioned: Callable[[Measurements], Suspects],
        node_counts: Sequence[int],
    ) -> tuple[Measurements, Suspects]:
        """Send all batches through a segment.

        Args:
            position: how many segments come before it.
            leaving: the values that later segments read.
            build: makes the segment's graph; one that begins earlier does the work of the segments
                between again.
            ill_conditioned: the taps whose readings may have lost digits.
            node_counts: the model's nodes in each segment, up to this one.

        Returns:
            What all processes together have measured, and the suspects. Where the first
            batch shows it, the others are not run, and what is kept is as it was before.
        """
        starts = defaultdict(list)
        for batch in range(len(self._batches.counts)):
            starts[self._store.position(batch)].append(batch)
        if not starts:
            return self._without_samples(build, ill_conditioned)
        taken = BatchMerge()
        graph: InstrumentedGraph | None = None
        for start in range(position, -1, -1):
            if not starts[start]:
                continue
            specs = self._specs(start, starts[start])
            graph = build(start, specs)
            for batch, feeds, fetched in self._runs(graph, start, starts):
                self._count(node_counts, start, position)
                moments = [self._moments(batch, tap, fetched) for tap in graph.taps.values()]
                taken.add(batch, moments)
                if taken.batches == 1:
                    first = _readings(graph, moments)
                    suspects = suspects_of_all(graph.taps, ill_conditioned(first), self._group)
                    if suspects:
                        return first, suspects
                made = {name: fetched[output] for name, output in graph.carried.items()}
                kept = self._store.specs(batch)
                made |= {n: feeds[n] for n in feeds if n in leaving and n not in {*kept, *made}}
                self._store.keep(batch, position + 1, made, leaving)
                self._advance(taken.batches, len(self._batches.counts))
        assert graph is not None
        readings = _readings(graph, moments_of_all(taken.merged(), self._group))
        return readings, self._suspects_in_the_end(ill_conditioned(readings))

    def _moments(self, batch: int, tap: Tap, fetched: Values) -> Moments:
        count = self._batches.counts[batch]
        if tap.count:
            count = int(np.asarray(fetched[tap.count]))
        return Moments(count, *np.asarray(fetched[tap.output]))

    def _suspects_in_the_end(self, suspects: Suspects) -> Suspects:
        if suspects:
            # The values that led to these measurements are not kept: begin again from the inputs.
            self._store.clear()
        return suspects

    def _runs(
        self, graph: InstrumentedGraph, start: int, starts: dict[int, list[int]]
    ) -> Iterator[tuple[int, Values, Values]]:
        """Yield each batch that begins at a boundary, its feeds there and its outputs."""
        taps = (name for tap in graph.taps.values() for name in tap.outputs)
        outputs = list(dict.fromkeys((*taps, *graph.carried.values())))
        staying = frozenset(graph.carried.values())
        with Session(graph.model, graph.initializers, self._device) as session:
            for batch, feeds in self._loaded(start, starts[start]):
                if feeds is None:
                    # Its values are lost; it begins again at the inputs, whose turn comes last.
                    self._store.forget(batch)
                    starts[0].append(batch)
                    continue
                more = batch != starts[start][-1]
                fetched = session.run(outputs, feeds, staying, more=more) if outputs else {}
                yield batch, feeds, fetched

    def _loaded(self, start: int, batches: Sequence[int]) -> Iterator[tuple[int, Values | None]]:
        """Yield each batch with what it is fed at a boundary, or None where that is lost."""

        def load(batch: int) -> Values | None:
            if start == 0:
                return self._batches.feeds(batch)
            try:
                return self._store.load(batch)
            except OSError:
                return None

        with Prefetch(load, batches) as prefetch:
            for batch, feeds in prefetch:
                self.stats.waited_seconds += prefetch.waited_seconds
                yield batch, feeds

    def _specs(self, start: int, batches: Sequence[int]) -> Specs:
        """Return the feeds at a boundary; an axis is open where batches differ in it."""
        if start == 0:
            return self._batches.specs
        specs: dict[str, InputSpec] = {}
        for batch in batches:
            for name, (shape, dtype) in self._store.specs(batch).items():
                known = specs.get(name, InputSpec(name, dtype.name, shape)).shape or shape
                same = (a if a == b else None for a, b in zip(known, shape, strict=True))
                specs[name] = InputSpec(name, dtype.name, tuple(same))
        return specs

    def _without_samples(
        self, build: Build, ill_conditioned: Callable[[Measurements], Suspects]
    ) -> tuple[Measurements, Suspects]:
        """Take part in the exchange of the other processes, which have all samples."""
        graph = build(0, self._batches.specs)
        none = [_no_moments(tap) for tap in graph.taps.values()]
        suspects = suspects_of_all(graph.taps, frozenset(), self._group)
        if suspects:
            return _readings(graph, none), suspects
        readings = _readings(graph, moments_of_all(none, self._group))
        return readings, ill_conditioned(readings)

    def _count(self, node_counts: Sequence[int], start: int, position: int) -> None:
        self.stats.executions += sum(node_counts[start : position + 1])
        self.stats.repeated += sum(node_counts[start:position])


def _no_moments(tap: Tap) -> Moments:
    return Moments(0, np.zeros(tap.channels), np.zeros(tap.channels))


def _readings(graph: InstrumentedGraph, moments: Sequence[Moments]) -> Measurements:
    return Measurements(
        {
            key: Measurement(one, tap.pending_layers)
            for (key, tap), one in zip(graph.taps.items(), moments, strict=True)
        }
    )
