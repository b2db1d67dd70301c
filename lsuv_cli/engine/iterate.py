"""LSUV in steps: sweep after sweep, until every layer that can be is within tolerance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from lsuv_cli.core.choices import Status
from lsuv_cli.core.events import Events
from lsuv_cli.core.indices import LayerIndex, NormIndex, WeightIndex
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.records import LayerResult
from lsuv_cli.core.results import BY_DEVIATION, Outcome, layer_results, tolerated
from lsuv_cli.core.rounding import is_suspicious
from lsuv_cli.core.solve import LayerSolution, damp_overshoots
from lsuv_cli.engine.batch_statistics import Forecast, measure_norm_inputs
from lsuv_cli.engine.draw import PendingDraws
from lsuv_cli.engine.measure_outputs import measure_outputs
from lsuv_cli.engine.rescale import apply, clear_biases, set_running_statistics
from lsuv_cli.engine.rounding import measure_rounding
from lsuv_cli.engine.setup import Setup
from lsuv_cli.engine.sweep import Sweeper
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.segments import Segment


def scale_and_measure(
    setup: Setup, weights: Parameters, options: WorkOptions, events: Events, forecast: Forecast
) -> tuple[dict[LayerIndex, Moments], tuple[str, ...]]:
    """Scale the weights by LSUV, and return the moments of every layer's output afterwards.

    The samples pass through the model once; where one sweep does not find the final scale of some
    weight, twice for each sweep.

    Args:
        setup: the model, its plan and its samples.
        weights: changed.
        options: the draw, the tolerance and the number of sweeps; with KEEP as `pre_init` the
            weights are scaled as they are.
        events: receives progress events.
        forecast: called with the segments before the first sweep.

    Returns:
        The moments by layer index, and a sentence for each layer that missed its target.
    """
    observed = [index for index in setup.measurable if not setup.plan.layers[index].swept]
    lsuv = Iterations(setup, weights, options, events, observed)
    while True:
        for segment in lsuv.next_sweep(forecast):
            lsuv.draw(segment)
            lsuv.sweep(segment)
        measured = lsuv.outcome.outputs
        if setup.plan.needs_more_sweeps:
            events.stage("measuring", len(setup.batches.counts))
            measured = measure_outputs(setup, weights, events)
        results = lsuv.results({}, measured)
        if lsuv.is_done(results):
            failures = tuple(
                f"{one.planned.layer.name}: {one.status.value}: {one.detail}"
                for one in results
                if one.status.is_failure
            )
            return measured, failures


class Iterations:
    """LSUV in steps, for a job to take: sweep after sweep, and in each segment after segment.

    Example:
        lsuv = Iterations(setup, weights, options, events)
        while True:
            for segment in lsuv.next_sweep(forecast):
                lsuv.draw(segment)
                final = lsuv.sweep(segment)  # these parameters may be written
            after = measure_outputs(setup, weights, events)
            results = lsuv.results(before, after)
            if lsuv.is_done(results):
                break

    Attributes:
        outcome: the solutions and scales of the sweeps so far.
    """

    _sweeper: Sweeper

    def __init__(
        self,
        setup: Setup,
        weights: Parameters,
        options: WorkOptions,
        events: Events,
        observed: Collection[LayerIndex] = (),
    ) -> None:
        """Set the biases of layers that are not swept to zero, unless they are to be kept.

        Args:
            setup: the model, its plan and its samples.
            weights: the model's; changed.
            options: the draw, the tolerance and the number of sweeps.
            events: receives progress events.
            observed: see `Sweeper`.
        """
        self.outcome = Outcome()
        self._setup = setup
        self._weights = weights
        self._options = options
        self._events = events
        self._observed = observed
        self._iterations = 0
        self._largest_deviation = math.inf
        self._scales: dict[WeightIndex, Float64Array] = {}
        self._last_scales: dict[WeightIndex, Float64Array] = {}
        self._draws = PendingDraws(setup, weights, options, events)
        self._uses = Counter(one.first_use for one in setup.plan.layers if one.swept)
        self._empty_uses: Counter[WeightIndex] = Counter()
        clear_biases(setup, weights)

    def next_sweep(self, forecast: Forecast) -> Iterator[Segment]:
        """Begin a sweep, and yield each segment that the samples pass through next.

        The caller draws and sweeps each segment before it takes the next one.

        Args:
            forecast: called with the segments before the first sweep.
        """
        self._iterations += 1
        self._sweeper = Sweeper(self._setup, self._weights, self._events.advance, self._observed)
        if self._iterations == 1:
            forecast(self._sweeper.segments)
        self._last_scales, self._scales = self._scales, {}
        self._draws.begin_sweep()
        self._empty_uses.clear()
        self.outcome.unreached.clear()
        while self._sweeper.position < len(self._sweeper.segments):
            yield self._sweeper.segments[self._sweeper.position]
        self._draws.draw_all()
        self._end_sweep()

    def draw(self, segment: Segment) -> None:
        """Draw the weights of a segment that have not been drawn.

        Args:
            segment: the one that `next_sweep` yielded.
        """
        self._draws.draw(segment.parameters)

    def sweep(self, segment: Segment) -> frozenset[str]:
        """Have all samples pass through a segment once, and scale the weights of its layers.

        Args:
            segment: the one that `next_sweep` yielded; where that is ill-conditioned, only
                the first of the segments that replace it is scaled.

        Returns:
            The parameters that this sweep does not change any more; none after the last segment,
            when all are.
        """
        setup, weights, sweeper = self._setup, self._weights, self._sweeper
        number, total = sweeper.position + 1, len(sweeper.segments)
        part = f", part {number} of {total}" if total > 1 else ""
        self._events.stage(f"sweeping{part}", len(setup.batches.counts))
        segment, swept = sweeper.run()
        solved = damp_overshoots(swept.scales, self._last_scales)
        apply(setup, weights, swept.layers, solved)
        self._set_statistics(swept.norms)
        self.outcome.layers |= swept.layers
        self.outcome.scaled_at |= swept.scaled_at
        self.outcome.outputs |= swept.outputs
        self._undo_unreached(swept.layers)
        for first, scale in solved.items():
            self._scales[first] = self._scales.get(first, np.asarray(1.0)) * scale
        later = sweeper.segments[sweeper.position :]
        if not later:
            return frozenset()
        return segment.parameters - {name for one in later for name in one.parameters}

    def _undo_unreached(self, layers: Mapping[LayerIndex, LayerSolution]) -> None:
        """Set the weights back that no sample reaches, once their last use has been measured."""
        for index, solution in layers.items():
            first = self._setup.plan.layers[index].first_use
            self._empty_uses[first] += solution.moments.is_empty
            is_unreached = self._empty_uses[first] == self._uses[first]
            if is_unreached and first not in self.outcome.scaled_at:
                self.outcome.unreached.add(first)
                self._draws.undo(first)

    def _end_sweep(self) -> None:
        stats = self._sweeper.stats
        self._events.detail(
            f"{stats.executions:,} node executions, {stats.repeated:,} of them repeated; "
            f"{self._setup.store.spilled_bytes:,} bytes written to disk"
        )
        if self._setup.plan.needs_more_sweeps and self._setup.norms:
            # Their inputs were not measured with the present weights.
            self._events.stage("measuring BatchNorm's inputs", len(self._setup.batches.counts))
            self._set_statistics(measure_norm_inputs(self._setup, self._weights, self._events))
        total = self.outcome.scales
        for first, scale in self._scales.items():
            total[first] = total.get(first, np.asarray(1.0)) * scale

    def _set_statistics(self, norms: Mapping[NormIndex, Moments]) -> None:
        finite = {index: one for index, one in norms.items() if one.is_finite}
        set_running_statistics(self._setup, self._weights, finite)

    def results(
        self, before: Mapping[LayerIndex, Moments], after: Mapping[LayerIndex, Moments]
    ) -> list[LayerResult]:
        """Return every layer's status and scale; see `layer_results`.

        Where rounding may be what keeps layers from their targets, that is measured.
        """
        judge = partial(
            layer_results,
            self._setup.plan,
            self.outcome,
            before,
            after,
            tol=self._options.tol,
            iterations=self._iterations,
        )
        results = judge()
        if not self._may_be_rounding(results):
            return results
        return judge(rounding=measure_rounding(self._setup, self._weights, after, self._events))

    def _may_be_rounding(self, results: Sequence[LayerResult]) -> bool:
        """Return whether layers are off their targets although the last sweep was exact.

        Where sweeps are not exact, they get nearer to the targets until rounding stops them.
        """
        deviations = [
            (one.deviation, tolerated(one.planned.layer, self._options.tol))
            for one in results
            if one.status in BY_DEVIATION and one.deviation is not None
        ]
        largest = max((deviation for deviation, _ in deviations), default=0.0)
        last, self._largest_deviation = self._largest_deviation, largest
        if not self._setup.plan.needs_more_sweeps:
            return any(is_suspicious(*one) for one in deviations)
        return largest > last / 2 and any(one.status is Status.MAX_ITERATIONS for one in results)

    def is_done(self, results: Sequence[LayerResult]) -> bool:
        """Return whether all layers that can be are within tolerance, or no sweep is left.

        Args:
            results: after the last sweep.
        """
        return self._iterations == self._options.max_iter or all(
            result.status is not Status.MAX_ITERATIONS for result in results
        )
