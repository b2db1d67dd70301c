"""Sweeps, segment by segment, until every scale is settled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from lsuv_cli.core.choices import Status
from lsuv_cli.core.events import Events
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.options import InitOptions
from lsuv_cli.core.records import LayerResult
from lsuv_cli.core.results import Outcome, layer_results
from lsuv_cli.core.solve import damped
from lsuv_cli.engine import (
    Work,
    apply,
    choose_factorisation,
    clear_biases,
    measure,
    pre_initialise,
    set_running_statistics,
)
from lsuv_cli.model.parameters import Parameters
from lsuv_cli.model.segments import Segment
from lsuv_cli.sweeper import Sweeper
from lsuv_cli.writing import WeightsFile, header_texts


def sweep_until_settled(
    work: Work,
    weights: Parameters,
    before: Mapping[int, Moments],
    options: InitOptions,
    settings: Mapping[str, object],
    events: Events,
    file: WeightsFile,
    forecast: Callable[[Sequence[Segment]], None],
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
    outcome = Outcome()
    scales: dict[int, Float64Array] = {}
    draws = _Draws(work, weights, options, events)
    clear_biases(work, weights)
    iteration = 0
    while True:
        iteration += 1
        sweeper = Sweeper(work, weights, events.advance)
        if iteration == 1:
            forecast(sweeper.segments)
        scales = _sweep(sweeper, work, weights, outcome, scales, draws, events, file)
        effort = sweeper.effort
        events.detail(
            f"{effort.executions:,} node executions, {effort.repeated:,} of them again; "
            f"{work.store.spilled_bytes:,} bytes written to disk"
        )
        for first, scale in scales.items():
            outcome.scales[first] = outcome.scales.get(first, np.asarray(1.0)) * scale
        events.stage("writing", len(work.model.parameters))
        file.finish(weights, events.advance)
        file.writer.set_metadata(header_texts(work.model, work.plan, settings, outcome.scales))
        after: Mapping[int, Moments] = {}
        # Where one sweep may not settle a scale, only a measurement tells when it is settled.
        if options.verify or work.plan.is_inexact:
            events.stage("verifying the written file")
            after = measure(work, weights, events)
        results = layer_results(
            work.plan, outcome, before, after, tol=options.tol, iterations=iteration
        )
        if iteration == options.max_iter or all(
            result.status is not Status.MAX_ITERATIONS for result in results
        ):
            return results


class _Draws:
    """Replaces weights by draws, each shortly before it is needed."""

    def __init__(
        self, work: Work, weights: Parameters, options: InitOptions, events: Events
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
        return self._work.model.view(self._work.plan.layers[index].layer.weight).source


def _sweep(
    sweeper: Sweeper,
    work: Work,
    weights: Parameters,
    outcome: Outcome,
    previous: Mapping[int, Float64Array],
    draws: _Draws,
    events: Events,
    file: WeightsFile,
) -> dict[int, Float64Array]:
    """One sweep over all segments; returns the weights' scales, told by their first use."""
    scales: dict[int, Float64Array] = {}
    while sweeper.position < len(sweeper.segments):
        number, total = sweeper.position + 1, len(sweeper.segments)
        draws.before(sweeper.segments[sweeper.position].parameters)
        part = f", part {number} of {total}" if total > 1 else ""
        events.stage(f"sweeping{part}", len(work.batches.counts))
        segment, swept = sweeper.run()
        solved = damped(swept.scales, previous)
        apply(work, weights, swept.layers, solved)
        set_running_statistics(work, weights, swept.norms)
        outcome.layers |= swept.layers
        outcome.homes |= swept.homes
        for first, scale in solved.items():
            scales[first] = scales.get(first, np.asarray(1.0)) * scale
        later = sweeper.segments[sweeper.position :]
        if later:
            wanted = {name for one in later for name in one.parameters}
            file.settle(segment.parameters - wanted, weights)
    draws.before(None)
    return scales
