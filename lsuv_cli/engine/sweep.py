"""One sweep: all samples through the model, each layer's scale found on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from lsuv_cli.core.choices import Bias
from lsuv_cli.core.journal import readings_entry, readings_of
from lsuv_cli.core.records import InstrumentedGraph, Readings, Specs
from lsuv_cli.core.solve import Known, Solutions, solve
from lsuv_cli.engine.work import Work
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.graph.topology import needed_nodes
from lsuv_cli.instrument.segments import Segment, cut_steps
from lsuv_cli.instrument.state import Factors, Found, Replayed, Sweepable
from lsuv_cli.instrument.steps import Step, sweep_steps
from lsuv_cli.instrument.sweep import sweeping_graph
from lsuv_cli.instrument.tracer import SweepTracer
from lsuv_cli.layers.biases import per_channel_bias
from lsuv_cli.runtime.data_pass import PassStats


class Sweeper:
    """Takes the samples through the segments of a model, one after the other.

    Attributes:
        segments: what remains to be done at first; a segment whose readings are doubtful is
            replaced by more cautious ones.
    """

    def __init__(
        self,
        work: Work,
        weights: Parameters,
        advance: Callable[[int, int], None],
        watched: Collection[int] = (),
    ) -> None:
        """Begin at the inputs.

        Args:
            work: what stays the same.
            weights: the model's; changed by the caller between the segments.
            advance: told (batches run, batches to run) of the segment that is running.
            watched: layers whose output is measured although they are not swept.
        """
        self._work = work
        self._weights = weights
        self._watched = watched
        self._about = Sweepable(
            work.model, work.layer_nodes, work.plan, work.norms, work.alone, watched
        )
        self._data_pass = work.data_pass(advance)
        self._founds = [Found()]
        self._factors: Factors = {}
        self.segments = self._cut_whole()

    @property
    def position(self) -> int:
        """How many segments are done."""
        return len(self._founds) - 1

    @property
    def stats(self) -> PassStats:
        """How much has been done."""
        return self._data_pass.stats

    def _cut_whole(self) -> list[Segment]:
        """The segments of a sweep, which runs as far as the last layer that is measured."""
        work = self._work
        products = [
            work.layer_nodes[index].node.output[0]
            for index, planned in enumerate(work.plan.layers)
            if planned.swept
        ]
        watched = [work.layer_nodes[index].layer.output for index in self._watched]
        wanted = [*products, *watched, *(norm.node.output[0] for norm in work.norms)]
        nodes = needed_nodes(work.model.nodes, wanted)
        steps = sweep_steps(nodes, work.layer_nodes, work.plan, work.norms)
        return self._cut(steps, Found())

    def _cut_rest(self) -> None:
        """Cut again what follows a cautious segment, which hands on other factors than foreseen."""
        rest = self.segments[self.position :]
        if rest and not rest[0].cautious:
            steps = [step for segment in rest for step in segment.steps]
            self.segments[self.position :] = self._cut(steps, self._founds[-1])

    def _cut(
        self,
        steps: Sequence[Step],
        found: Found,
        *,
        later: frozenset[str] = frozenset(),
        cautious: bool = False,
    ) -> list[Segment]:
        """Cut steps so that the scales each segment wants are known when it begins."""
        tracer = None
        if not self._work.alone:
            tracer = SweepTracer(self._about, self._weights, steps, found, cautious=cautious)
        return cut_steps(
            self._work.model,
            steps,
            self._work.max_segment_bytes,
            tracer,
            later=later,
            cautious=cautious,
        )

    def run(self) -> tuple[Segment, Solutions]:
        """Have all samples pass through the next segment.

        Returns:
            The segment, and what follows from what was measured in it.
        """
        while True:
            segment = self.segments[self.position]
            known = self._work.journal.recall()
            if known is None:
                readings, is_doubtful = self._measured(segment)
                self._work.journal.record({"doubtful": is_doubtful, **readings_entry(readings)})
            else:
                readings, is_doubtful = readings_of(known), known["doubtful"]
                self._build(self.position, {})
            if not is_doubtful:
                solutions = self._solved(readings)
                if segment.cautious:
                    self._cut_rest()
                return segment, solutions
            cautious = self._cut(
                segment.steps, self._founds[-1], later=segment.leaving, cautious=True
            )
            self.segments[self.position : self.position + 1] = cautious

    def _measured(self, segment: Segment) -> tuple[Readings, bool]:
        """Have all samples pass through a segment; the readings, and whether they are doubtful."""
        readings, doubts = self._data_pass.run(
            self.position,
            segment.leaving,
            self._build,
            lambda readings: frozenset() if segment.cautious else self._doubts(readings),
            [one.node_count for one in self.segments[: self.position + 1]],
        )
        return readings, bool(doubts)

    def _doubts(self, readings: Readings) -> frozenset[int]:
        """What is to be measured more cautiously; normalisations count on behind the layers."""
        work = self._work
        planned = ((index, work.plan.layers[index]) for index in readings.layers)
        centred = [index for index, one in planned if one.swept and one.centres]
        norms = {len(work.layer_nodes) + index for index in work.doubtful_norms(readings.norms)}
        return work.doubtful(readings.layers, centred) | norms

    def _build(self, start: int, specs: Specs) -> InstrumentedGraph:
        found, replayed = self._founds[-1], None
        if start < self.position:
            steps = [step for one in self.segments[start : self.position] for step in one.steps]
            replayed = Replayed(steps, self._done_again(start))
        segment = self.segments[self.position]
        graph, self._factors = sweeping_graph(
            self._about, self._weights, segment, specs, found, replayed
        )
        return graph

    def _done_again(self, start: int) -> Found:
        """What is known when segments are run again: the layers in them have final weights."""
        before, now = self._founds[start], self._founds[-1]
        layers = {
            index: before.layers.get(index) or Known(np.ones(()), known.mean * known.factor)
            for index, known in now.layers.items()
        }
        return Found(layers, now.norms, before.settled, before.factors)

    def _solved(self, readings: Readings) -> Solutions:
        before = self._founds[-1]
        biases = {
            index: per_channel_bias(layer_node, self._weights[layer_node.layer.bias])
            for index in readings.layers
            if (layer_node := self._work.layer_nodes[index]).layer.bias is not None
            and self._work.plan.layers[index].bias is Bias.KEEP
        }
        solutions = solve(self._work.plan, readings, biases, before.settled, before.layers)
        norms = {**before.norms, **solutions.norms}
        self._founds.append(Found(solutions.known, norms, solutions.settled, self._factors))
        return solutions
