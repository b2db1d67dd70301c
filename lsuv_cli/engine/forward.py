"""Each layer's moments with one initialisation, found while the samples pass through once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lsuv_cli.core.choices import Bias, PreInit
from lsuv_cli.core.events import Events
from lsuv_cli.core.indices import LayerIndex, NormIndex
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.records import Plan
from lsuv_cli.engine.draw import choose_factorisation, pre_initialise
from lsuv_cli.engine.rescale import clear_biases, set_running_statistics
from lsuv_cli.engine.setup import Setup
from lsuv_cli.engine.sweep import Sweeper
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.segments import Segment

Forecast = Callable[[Sequence[Segment]], None]


def draw_weights(setup: Setup, weights: Parameters, options: WorkOptions, events: Events) -> None:
    """Draw all weights of the plan, and set biases to zero unless they are to stay.

    Args:
        setup: what stays the same.
        weights: changed.
        options: what the weights become is `pre_init`; with KEEP they stay, and all biases too.
        events: told how the work goes.
    """
    if options.pre_init is PreInit.KEEP:
        return
    qr = choose_factorisation(setup.plan, options.pre_init, setup.device)
    pre_initialise(setup, weights, setup.plan.initialised(), options, qr, events)
    clear_biases(replace(setup, plan=_unscaled(setup.plan)), weights)


def measure_with_batch_statistics(
    setup: Setup, weights: Parameters, events: Events, forecast: Forecast
) -> dict[LayerIndex, Moments]:
    """The moments of every layer's output with the weights as they are, in one pass.

    Normalisations of the work use the samples' own statistics.

    Args:
        setup: what stays the same; its plan does not matter.
        weights: the model's; not changed.
        events: told how the work goes.
        forecast: told the segments.
    """
    measured, _ = _measure_with_batch_statistics(setup, weights, events, forecast)
    return measured


def measure_and_set_statistics(
    setup: Setup, weights: Parameters, events: Events, forecast: Forecast
) -> dict[LayerIndex, Moments]:
    """The same; the normalisations' running statistics become those of the samples.

    So what else is measured with these weights uses the same statistics.

    Args:
        setup: what stays the same; its plan does not matter.
        weights: the model's; the running statistics of the work's normalisations are changed.
        events: told how the work goes.
        forecast: told the segments.
    """
    measured, norms = _measure_with_batch_statistics(setup, weights, events, forecast)
    set_running_statistics(setup, weights, norms)
    return measured


def measure_norm_inputs(
    setup: Setup, weights: Parameters, events: Events
) -> dict[NormIndex, Moments]:
    """The moments of what every normalisation takes in, with the weights as they are.

    Args:
        setup: what stays the same; its plan does not matter.
        weights: the model's; not changed.
        events: told how the work goes.
    """
    _, norms = _measure_with_batch_statistics(setup, weights, events, lambda _segments: None)
    return norms


def _measure_with_batch_statistics(
    setup: Setup, weights: Parameters, events: Events, forecast: Forecast
) -> tuple[dict[LayerIndex, Moments], dict[NormIndex, Moments]]:
    """The moments of every layer's output, and of what every normalisation takes in."""
    setup = replace(setup, plan=_unscaled(setup.plan))
    sweeper = Sweeper(setup, weights, events.advance, setup.measurable)
    forecast(sweeper.segments)
    measured: dict[LayerIndex, Moments] = {}
    norms: dict[NormIndex, Moments] = {}
    while sweeper.position < len(sweeper.segments):
        _, solutions = sweeper.run()
        measured |= solutions.outputs
        norms |= solutions.norms
    return measured, norms


def _unscaled(plan: Plan) -> Plan:
    """A plan by which nothing is scaled."""
    layers = tuple(
        replace(
            one,
            swept=False,
            needs_more_sweeps=False,
            bias=one.bias if one.bias is Bias.KEEP else Bias.ZERO,
        )
        for one in plan.layers
    )
    return replace(plan, layers=layers)
