"""One sweep: all samples pass through the model, segment by segment, and each layer is scaled."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from lsuv_cli.core.choices import Bias
from lsuv_cli.core.indices import LayerIndex, TapKey
from lsuv_cli.core.journal import measurements_entry, measurements_of
from lsuv_cli.core.measurements import InstrumentedGraph, Measurements
from lsuv_cli.core.moments import Float64Array
from lsuv_cli.core.records import Specs
from lsuv_cli.core.solve import MeasuredProduct, SegmentSolution, solve
from lsuv_cli.engine.cut_sweep import SweepCutter
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.instrument.state import PendingScales, Replay, SweepState, SweptModel
from lsuv_cli.instrument.sweep_graph import sweep_graph
from lsuv_cli.layers.biases import per_channel_bias
from lsuv_cli.runtime.data_pass import PassStats


class Sweeper:
    """Takes the samples through the segments of a model, one after the other.

    Attributes:
        segments: those of the whole sweep; an ill-conditioned one is replaced by cautious ones.
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
            setup: the model, its plan and its samples.
            weights: the model's; changed by the caller between the segments.
            advance: called with (batches run, batches to run) of the segment that is running.
            observed: layers whose output is measured although they are not swept.
        """
        self._setup = setup
        self._weights = weights
        self._swept = SweptModel(
            setup.model, setup.layer_nodes, setup.plan, setup.norms, setup.single_batch, observed
        )
        self._cutter = SweepCutter(setup, self._swept, weights)
        self._data_pass = setup.data_pass(advance)
        # The state when each segment begins, the next one included.
        self._states = [SweepState()]
        self._pending_scales: PendingScales = {}
        self.segments = self._cutter.whole()

    @property
    def position(self) -> int:
        """The number of segments that are done."""
        return len(self._states) - 1

    @property
    def stats(self) -> PassStats:
        """The node executions so far."""
        return self._data_pass.stats

    def run(self) -> tuple[Segment, SegmentSolution]:
        """Measure the next segment, find the scales of its layers, and pass its values on.

        Returns:
            The segment, and the scales that follow from its measurements.
        """
        while True:
            segment = self.segments[self.position]
            measured, is_ill_conditioned = self._recall() or self._measure(segment)
            if not is_ill_conditioned:
                solution = self._solve(measured)
                self._pass_on(segment, solution)
                return segment, solution
            cautious = self._cutter.cautious(segment, self._states[-1])
            self.segments[self.position : self.position + 1] = cautious

    def _recall(self) -> tuple[Measurements, bool] | None:
        """Return the measurements that the journal holds of the next segment; None without any."""
        entry = self._setup.journal.recall()
        if entry is None:
            return None
        # For the scales that are pending on what the segment passes on.
        self._build(self.position, {})
        return measurements_of(entry), entry["ill_conditioned"]

    def _measure(self, segment: Segment) -> tuple[Measurements, bool]:
        """Have all samples pass through a segment.

        Returns:
            The moments of its layers' unscaled products, and whether any is ill-conditioned.
        """
        measured, suspects = self._data_pass.run(
            self.position,
            segment.leaving,
            self._build,
            lambda found: frozenset() if segment.cautious else self._suspects(found),
            [one.node_count for one in self.segments[: self.position + 1]],
        )
        is_ill_conditioned = bool(suspects)
        entry = {"ill_conditioned": is_ill_conditioned, **measurements_entry(measured)}
        self._setup.journal.record(entry)
        return measured, is_ill_conditioned

    def _suspects(self, measured: Measurements) -> frozenset[TapKey]:
        """Return the taps to be measured more cautiously."""
        planned = ((index, self._setup.plan.layers[index]) for index in measured.layers)
        centred = [index for index, one in planned if one.swept and one.centres]
        return self._setup.ill_conditioned(measured, centred)

    def _solve(self, measured: Measurements) -> SegmentSolution:
        """Return the scales that bring the layers of a segment to their targets."""
        state = self._states[-1]
        biases = self._kept_biases(measured.layers)
        return solve(self._setup.plan, measured, biases, state.scale_is_final, state.products)

    def _kept_biases(self, layers: Collection[LayerIndex]) -> dict[LayerIndex, Float64Array]:
        """Return (c,) for each of some layers whose bias is kept."""
        kept = {}
        for index in layers:
            layer_node = self._setup.layer_nodes[index]
            name = layer_node.layer.bias_value
            if name is not None and self._setup.plan.layers[index].bias is Bias.KEEP:
                kept[index] = per_channel_bias(layer_node, self._weights[name])
        return kept

    def _pass_on(self, segment: Segment, solution: SegmentSolution) -> None:
        """Note what the next segment begins with: scales, and the scales pending on its values."""
        norms = {**self._states[-1].norms, **solution.norms}
        self._states.append(
            SweepState(solution.products, norms, solution.scale_is_final, self._pending_scales)
        )
        if segment.cautious:
            rest = self.segments[self.position :]
            self.segments[self.position :] = self._cutter.again(rest, self._states[-1])

    def _build(self, start: int, specs: Specs) -> InstrumentedGraph:
        """Return the graph of the next segment, and of those before it from a position on."""
        replay = None
        if start < self.position:
            steps = [step for one in self.segments[start : self.position] for step in one.steps]
            replay = Replay(steps, self._replayed_state(start))
        segment, state = self.segments[self.position], self._states[-1]
        graph, self._pending_scales = sweep_graph(
            self._swept, self._weights, segment, specs, state, replay
        )
        return graph

    def _replayed_state(self, start: int) -> SweepState:
        """Return what is known when segments are run again, whose layers have final weights."""
        before, now = self._states[start], self._states[-1]
        products = {
            index: before.products.get(index)
            or MeasuredProduct(np.ones(()), product.mean * product.pending_scale)
            for index, product in now.products.items()
        }
        return SweepState(products, now.norms, before.scale_is_final, before.pending_scales)
