"""Sweeps, segment by segment, until every scale is settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    pending_draws,
    pre_initialise,
    set_running_statistics,
    sweep,
    sweeping_segments,
)
from lsuv_cli.model.parameters import Parameters
from lsuv_cli.model.segments import Segment
from lsuv_cli.writing import WeightsFile, header_texts


def sweep_until_settled(
    work: Work,
    weights: Parameters,
    before: Mapping[int, Moments],
    options: InitOptions,
    events: Events,
    file: WeightsFile,
) -> list[LayerResult]:
    """Sweep, write and verify; again while a layer is out of tolerance that could be within.

    Args:
        work: what stays the same.
        weights: the model's; in the end those that were written.
        before: each layer's moments with the model's own weights; may be empty.
        options: what the user asked for.
        events: told how the work goes.
        file: the written file.

    Returns:
        What became of each layer.
    """
    outcome = Outcome()
    scales: dict[int, Float64Array] = {}
    segments = sweeping_segments(work)
    pending = pending_draws(work, segments)
    factorisation = choose_factorisation(work.plan, options.pre_init)
    clear_biases(work, weights)
    iteration = 0
    while True:
        iteration += 1
        feeds, previous, scales = work.feeds, scales, {}
        settled: Mapping[int, Float64Array] = {}
        for number, segment in enumerate(segments):
            if iteration == 1:
                pre_initialise(work, weights, pending[number], options, factorisation, events)
            part = f", part {number + 1} of {len(segments)}" if len(segments) > 1 else ""
            events.stage(f"sweeping{part}")
            swept, feeds = sweep(work, weights, segment, feeds, settled)
            settled = swept.settled
            solved = damped(swept.scales, previous)
            apply(work, weights, swept.layers, solved)
            set_running_statistics(work, weights, swept.norms)
            outcome.layers |= swept.layers
            outcome.homes |= swept.homes
            for first, scale in solved.items():
                scales[first] = scales.get(first, np.asarray(1.0)) * scale
            if number + 1 < len(segments):
                file.settle(_final(segments, number), weights)
        if iteration == 1:
            pre_initialise(work, weights, pending[-1], options, factorisation, events)
        for first, scale in scales.items():
            outcome.scales[first] = outcome.scales.get(first, np.asarray(1.0)) * scale
        events.stage("writing", len(work.model.parameters))
        file.finish(weights, events.advance)
        file.writer.set_metadata(
            header_texts(work.model, work.plan, options, work.samples, outcome.scales)
        )
        after: Mapping[int, Moments] = {}
        # Where one sweep may not settle a scale, only a measurement tells when it is settled.
        if options.verify or work.plan.is_inexact:
            events.stage("verifying the written file")
            after = measure(work, weights)
        results = layer_results(
            work.plan, outcome, before, after, tol=options.tol, iterations=iteration
        )
        if iteration == options.max_iter or all(
            result.status is not Status.MAX_ITERATIONS for result in results
        ):
            return results


def _final(segments: Sequence[Segment], number: int) -> set[str]:
    """The parameters of a segment that no later one reads."""
    later = {name for segment in segments[number + 1 :] for name in segment.parameters}
    return set(segments[number].parameters - later)
