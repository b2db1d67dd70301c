"""Sweeps, segment by segment, until every scale is settled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from lsuv_cli.core.choices import Status
from lsuv_cli.core.events import Events
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.options import InitOptions, WorkOptions
from lsuv_cli.core.records import LayerResult
from lsuv_cli.core.results import Outcome, layer_results
from lsuv_cli.core.solve import damped
from lsuv_cli.engine.draw import choose_factorisation, pre_initialise
from lsuv_cli.engine.forward import Forecast, measure_norms
from lsuv_cli.engine.measure import measure
from lsuv_cli.engine.rescale import apply, clear_biases, set_running_statistics
from lsuv_cli.engine.sweep import Sweeper
from lsuv_cli.engine.work import Work
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.weights.written import WeightsFile, header_texts


def sweep_until_settled(
    work: Work,
    weights: Parameters,
    before: Mapping[int, Moments],
    options: InitOptions,
    settings: Mapping[str, object],
    events: Events,
    file: WeightsFile,
    forecast: Forecast,
) -> list[LayerResult]:
    """Sweep, write and verify; again while a layer is out of tolerance that could be within.

    Args:
        work: what stays the same.
        weights: the model's; in the end those that were written.
        before: each layer's moments with the model's own weights; may be empty.
        options: what the user asked for.
        settings: what decides the numbers, for the written header.
        events: told how the work goes.
        file: the written file.
        forecast: told the segments before the first sweep.

    Returns:
        What became of each layer.
    """
    sweeps = Sweeps(work, weights, options, events, file.settle)
    while True:
        sweeps.sweep(forecast)
        events.stage("writing", len(work.model.parameters))
        file.finish(weights, events.advance)
        scales = sweeps.outcome.scales
        file.writer.set_metadata(header_texts(work.model, work.plan, settings, scales))
        after: Mapping[int, Moments] = {}
        # Where one sweep may not settle a scale, only a measurement tells when it is settled.
        if options.verify or work.plan.is_inexact:
            events.stage("verifying the written file")
            after = measure(work, weights, events)
        results = sweeps.results(before, after)
        if sweeps.are_done(results):
            return results


def measure_scaled(
    work: Work, weights: Parameters, options: WorkOptions, events: Events, forecast: Forecast
) -> tuple[dict[int, Moments], tuple[str, ...]]:
    """Scale the weights by LSUV; the moments of every layer's output then.

    In one pass; where one sweep does not settle a scale, in two for each sweep.

    Args:
        work: what stays the same.
        weights: changed.
        options: what the user asked for; with KEEP as `pre_init` the weights are scaled as they
            are.
        events: told how the work goes.
        forecast: told the segments before the first sweep.

    Returns:
        The moments, and what could not be brought to its target, in words.
    """
    watched = [index for index in work.measurable if not work.plan.layers[index].swept]
    sweeps = Sweeps(work, weights, options, events, lambda _parameters, _weights: None, watched)
    while True:
        sweeps.sweep(forecast)
        measured = sweeps.outcome.outputs
        if work.plan.is_inexact:
            events.stage("measuring", len(work.batches.counts))
            measured = measure(work, weights, events)
        results = sweeps.results({}, measured)
        if sweeps.are_done(results):
            failures = tuple(
                f"{one.planned.layer.name}: {one.status.value}: {one.detail}"
                for one in results
                if one.status.is_failure
            )
            return measured, failures


class Sweeps:
    """Draws weights and sweeps them, as often as it takes.

    Attributes:
        outcome: what the sweeps gave.
    """

    def __init__(
        self,
        work: Work,
        weights: Parameters,
        options: WorkOptions,
        events: Events,
        settle: Callable[[Collection[str], Parameters], None],
        watched: Collection[int] = (),
    ) -> None:
        """Begin.

        Args:
            work: what stays the same.
            weights: the model's; changed.
            options: what the user asked for.
            events: told how the work goes.
            settle: told the parameters that have become final in this sweep, and where they are.
            watched: see `Sweeper`.
        """
        self.outcome = Outcome()
        self._work = work
        self._weights = weights
        self._options = options
        self._events = events
        self._settle = settle
        self._watched = watched
        self._iterations = 0
        self._scales: dict[int, Float64Array] = {}
        self._draws = _Draws(work, weights, options, events)
        clear_biases(work, weights)

    def sweep(self, forecast: Forecast) -> None:
        """Have all samples pass through all segments once.

        Args:
            forecast: told the segments before the first sweep.
        """
        self._iterations += 1
        sweeper = Sweeper(self._work, self._weights, self._events.advance, self._watched)
        if self._iterations == 1:
            forecast(sweeper.segments)
        scales: dict[int, Float64Array] = {}
        while sweeper.position < len(sweeper.segments):
            self._pass(sweeper, scales)
        self._draws.before(None)
        effort = sweeper.effort
        self._events.detail(
            f"{effort.executions:,} node executions, {effort.repeated:,} of them again; "
            f"{self._work.store.spilled_bytes:,} bytes written to disk"
        )
        if self._work.plan.is_inexact and self._work.norms:
            # What they took in was not measured with the weights that there are now.
            self._events.stage("measuring what is normalised", len(self._work.batches.counts))
            self._set_statistics(measure_norms(self._work, self._weights, self._events))
        self._scales = scales
        total = self.outcome.scales
        for first, scale in scales.items():
            total[first] = total.get(first, np.asarray(1.0)) * scale

    def _pass(self, sweeper: Sweeper, scales: dict[int, Float64Array]) -> None:
        """Sweep the next segment; its weights' scales, told by their first use, are added."""
        work, weights = self._work, self._weights
        number, total = sweeper.position + 1, len(sweeper.segments)
        self._draws.before(sweeper.segments[sweeper.position].parameters)
        part = f", part {number} of {total}" if total > 1 else ""
        self._events.stage(f"sweeping{part}", len(work.batches.counts))
        segment, swept = sweeper.run()
        solved = damped(swept.scales, self._scales)
        apply(work, weights, swept.layers, solved)
        self._set_statistics(swept.norms)
        self.outcome.layers |= swept.layers
        self.outcome.homes |= swept.homes
        self.outcome.outputs |= swept.outputs
        for first, scale in solved.items():
            scales[first] = scales.get(first, np.asarray(1.0)) * scale
        later = sweeper.segments[sweeper.position :]
        if later:
            wanted = {name for one in later for name in one.parameters}
            self._settle(segment.parameters - wanted, weights)

    def _set_statistics(self, norms: Mapping[int, Moments]) -> None:
        finite = {index: one for index, one in norms.items() if one.is_finite}
        set_running_statistics(self._work, self._weights, finite)

    def results(
        self, before: Mapping[int, Moments], after: Mapping[int, Moments]
    ) -> list[LayerResult]:
        """What became of each layer; see `layer_results`."""
        return layer_results(
            self._work.plan,
            self.outcome,
            before,
            after,
            tol=self._options.tol,
            iterations=self._iterations,
        )

    def are_done(self, results: Sequence[LayerResult]) -> bool:
        """Whether no layer is out of tolerance that could be within, or it has been tried enough.

        Args:
            results: after the last sweep.
        """
        return self._iterations == self._options.max_iter or all(
            result.status is not Status.MAX_ITERATIONS for result in results
        )


class _Draws:
    """Replaces weights by draws, each shortly before it is needed."""

    def __init__(
        self, work: Work, weights: Parameters, options: WorkOptions, events: Events
    ) -> None:
        self._work = work
        self._weights = weights
        self._options = options
        self._events = events
        self._pending = work.plan.initialised()
        self._factorisation = choose_factorisation(work.plan, options.pre_init, work.device)

    def before(self, parameters: Collection[str] | None) -> None:
        """Draw what has not been drawn of some parameters; None for all."""
        here = [i for i in self._pending if parameters is None or self._source(i) in parameters]
        self._pending = [index for index in self._pending if index not in here]
        pre_initialise(
            self._work, self._weights, here, self._options, self._factorisation, self._events
        )

    def _source(self, index: int) -> str:
        return self._work.model.view(self._work.plan.layers[index].layer.weight).parameter
