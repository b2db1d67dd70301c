"""Each layer's moments with one initialisation, found while the samples pass through once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lsuv_cli.core.choices import Bias, PreInit
from lsuv_cli.core.events import Events
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.records import Plan
from lsuv_cli.engine import (
    Work,
    choose_factorisation,
    clear_biases,
    measure,
    pre_initialise,
    set_running_statistics,
)
from lsuv_cli.iteration import Sweeps
from lsuv_cli.model.parameters import Parameters
from lsuv_cli.model.segments import Segment
from lsuv_cli.sweeper import Sweeper

Forecast = Callable[[Sequence[Segment]], None]


def draw_weights(work: Work, weights: Parameters, options: WorkOptions, events: Events) -> None:
    """Draw all weights of the plan, and set biases to zero unless they are to stay.

    Args:
        work: what stays the same.
        weights: changed.
        options: what the weights become is `pre_init`; with KEEP they stay, and all biases too.
        events: told how the work goes.
    """
    if options.pre_init is PreInit.KEEP:
        return
    qr = choose_factorisation(work.plan, options.pre_init, work.device)
    pre_initialise(work, weights, work.plan.initialised(), options, qr, events)
    clear_biases(replace(work, plan=_unscaled(work.plan)), weights)


def measure_unscaled(
    work: Work, weights: Parameters, events: Events, forecast: Forecast
) -> dict[int, Moments]:
    """The moments of every layer's output with the weights as they are, in one pass.

    Normalisations of the work use the samples' own statistics.

    Args:
        work: what stays the same; its plan does not matter.
        weights: the model's; not changed.
        events: told how the work goes.
        forecast: told the segments.
    """
    measured, _ = _measure_unscaled(work, weights, events, forecast)
    return measured


def measure_normalised(
    work: Work, weights: Parameters, events: Events, forecast: Forecast
) -> dict[int, Moments]:
    """The same; the normalisations' running statistics become those of the samples.

    So what else is measured with these weights uses the same statistics.

    Args:
        work: what stays the same; its plan does not matter.
        weights: the model's; the running statistics of the work's normalisations are changed.
        events: told how the work goes.
        forecast: told the segments.
    """
    measured, norms = _measure_unscaled(work, weights, events, forecast)
    set_running_statistics(work, weights, norms)
    return measured


def _measure_unscaled(
    work: Work, weights: Parameters, events: Events, forecast: Forecast
) -> tuple[dict[int, Moments], dict[int, Moments]]:
    """The moments of every layer's output, and of what every normalisation takes in."""
    work = replace(work, plan=_unscaled(work.plan))
    sweeper = Sweeper(work, weights, events.advance, work.measurable)
    forecast(sweeper.segments)
    measured: dict[int, Moments] = {}
    norms: dict[int, Moments] = {}
    while sweeper.position < len(sweeper.segments):
        _, solutions = sweeper.run()
        measured |= solutions.outputs
        norms |= solutions.norms
    return measured, norms


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


def _unscaled(plan: Plan) -> Plan:
    """A plan by which nothing is scaled."""
    layers = tuple(
        replace(
            one,
            swept=False,
            inexact=False,
            bias=one.bias if one.bias is Bias.KEEP else Bias.ZERO,
        )
        for one in plan.layers
    )
    return replace(plan, layers=layers)
