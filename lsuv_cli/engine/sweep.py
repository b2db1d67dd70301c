"""One sweep: all samples through the model, each layer's scale found on the way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from lsuv_cli.core.choices import Bias
from lsuv_cli.core.indices import LayerIndex, TapKey, by_layer
from lsuv_cli.core.journal import readings_entry, readings_of
from lsuv_cli.core.records import InstrumentedGraph, Measurements, Specs
from lsuv_cli.core.solve import MeasuredProduct, SegmentSolution, solve
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.segments import Segment, cut_steps
from lsuv_cli.instrument.state import PendingScales, Replay, SweepState, SweptModel
from lsuv_cli.instrument.steps import SweepStep, sweep_steps
from lsuv_cli.instrument.sweep_graph import sweep_graph
from lsuv_cli.instrument.tracer import SweepTracer
from lsuv_cli.layers.biases import per_channel_bias
from lsuv_cli.runtime.data_pass import PassStats


class Sweeper:
    """Takes the samples through the segments of a model, one after the other.

    Attributes:
        segments: what remains to be done at first; a segment whose readings are ill-conditioned is
            replaced by more cautious ones.
    """

    def __init__(
        self,
        setup: Setup,
        weights: Parameters,
        advance: Callable[[int, int], None],
        observed: Collection[LayerIndex] = (),
    ) -> None:
        """Begin at the inputs.

        Args:
            setup: what stays the same.
            weights: the model's; changed by the caller between the segments.
            advance: told (batches run, batches to run) of the segment that is running.
            observed: layers whose output is measured although they are not swept.
        """
        self._setup = setup
        self._weights = weights
        self._observed = observed
        self._about = SweptModel(
            setup.model, setup.layer_nodes, setup.plan, setup.norms, setup.single_batch, observed
        )
        self._data_pass = setup.data_pass(advance)
        self._states = [SweepState()]
        self._pending_scales: PendingScales = {}
        self.segments = self._cut_whole()

    @property
    def position(self) -> int:
        """How many segments are done."""
        return len(self._states) - 1

    @property
    def stats(self) -> PassStats:
        """How much has been done."""
        return self._data_pass.stats

    def _cut_whole(self) -> list[Segment]:
        """The segments of a sweep, which runs as far as the last layer that is measured."""
        setup = self._setup
        products = [
            setup.layer_nodes[index].node.output[0]
            for index, planned in by_layer(setup.plan.layers)
            if planned.swept
        ]
        observed = [setup.layer_nodes[index].layer.output for index in self._observed]
        wanted = [*products, *observed, *(norm.node.output[0] for norm in setup.norms)]
        nodes = setup.model.uses.needed(wanted)
        steps = sweep_steps(nodes, setup.layer_nodes, setup.plan, setup.norms)
        return self._cut(steps, SweepState())

    def _cut_rest(self) -> None:
        """Cut again what follows a cautious segment, which hands on other factors than foreseen."""
        rest = self.segments[self.position :]
        if rest and not rest[0].cautious:
            steps = [step for segment in rest for step in segment.steps]
            self.segments[self.position :] = self._cut(steps, self._states[-1])

    def _cut(
        self,
        steps: Sequence[SweepStep],
        found: SweepState,
        *,
        later: frozenset[str] = frozenset(),
        cautious: bool = False,
    ) -> list[Segment]:
        """Cut steps so that the scales each segment wants are known when it begins."""
        tracer = None
        if not self._setup.single_batch:
            tracer = SweepTracer(self._about, self._weights, steps, found, cautious=cautious)
        return cut_steps(
            self._setup.model,
            steps,
            self._setup.max_segment_bytes,
            tracer,
            later=later,
            cautious=cautious,
        )

    def run(self) -> tuple[Segment, SegmentSolution]:
        """Have all samples pass through the next segment.

        Returns:
            The segment, and what follows from what was measured in it.
        """
        while True:
            segment = self.segments[self.position]
            known = self._setup.journal.recall()
            if known is None:
                readings, is_ill_conditioned = self._measured(segment)
                self._setup.journal.record(
                    {"ill_conditioned": is_ill_conditioned, **readings_entry(readings)}
                )
            else:
                readings, is_ill_conditioned = readings_of(known), known["ill_conditioned"]
                self._build(self.position, {})
            if not is_ill_conditioned:
                solutions = self._solved(readings)
                if segment.cautious:
                    self._cut_rest()
                return segment, solutions
            cautious = self._cut(
                segment.steps, self._states[-1], later=segment.leaving, cautious=True
            )
            self.segments[self.position : self.position + 1] = cautious

    def _measured(self, segment: Segment) -> tuple[Measurements, bool]:
        """Have all samples pass through a segment; tell whether that is ill-conditioned."""
        readings, ill_conditioned = self._data_pass.run(
            self.position,
            segment.leaving,
            self._build,
            lambda readings: frozenset() if segment.cautious else self._ill_conditioned(readings),
            [one.node_count for one in self.segments[: self.position + 1]],
        )
        return readings, bool(ill_conditioned)

    def _ill_conditioned(self, measured: Measurements) -> frozenset[TapKey]:
        """Return the taps to be measured more cautiously."""
        planned = ((index, self._setup.plan.layers[index]) for index in measured.layers)
        centred = [index for index, one in planned if one.swept and one.centres]
        return self._setup.ill_conditioned(measured, centred)

    def _build(self, start: int, specs: Specs) -> InstrumentedGraph:
        found, replay = self._states[-1], None
        if start < self.position:
            steps = [step for one in self.segments[start : self.position] for step in one.steps]
            replay = Replay(steps, self._done_again(start))
        segment = self.segments[self.position]
        graph, self._pending_scales = sweep_graph(
            self._about, self._weights, segment, specs, found, replay
        )
        return graph

    def _done_again(self, start: int) -> SweepState:
        """What is known when segments are run again: the layers in them have final weights."""
        before, now = self._states[start], self._states[-1]
        layers = {
            index: before.products.get(index)
            or MeasuredProduct(np.ones(()), known.mean * known.pending_scale)
            for index, known in now.products.items()
        }
        return SweepState(layers, now.norms, before.scale_is_final, before.pending_scales)

    def _solved(self, readings: Measurements) -> SegmentSolution:
        before = self._states[-1]
        biases = {
            index: per_channel_bias(layer_node, self._weights[layer_node.layer.bias_value])
            for index in readings.layers
            if (layer_node := self._setup.layer_nodes[index]).layer.bias_value is not None
            and self._setup.plan.layers[index].bias is Bias.KEEP
        }
        solutions = solve(
            self._setup.plan, readings, biases, before.scale_is_final, before.products
        )
        norms = {**before.norms, **solutions.norms}
        self._states.append(
            SweepState(solutions.products, norms, solutions.scale_is_final, self._pending_scales)
        )
        return solutions
