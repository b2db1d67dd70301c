"""Measurements with the samples' own statistics in batch normalisations, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lsuv_cli.core.events import Events
from lsuv_cli.core.indices import LayerIndex, NormIndex
from lsuv_cli.core.moments import Moments
from lsuv_cli.engine.rescale import set_running_statistics
from lsuv_cli.engine.setup import Setup, without_scaling
from lsuv_cli.engine.sweep import Sweeper
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.segments import Segment

Forecast = Callable[[Sequence[Segment]], None]


def measure_with_batch_statistics(
    setup: Setup, weights: Parameters, events: Events, forecast: Forecast
) -> dict[LayerIndex, Moments]:
    """Return the moments of every layer's output, with the weights as they are.

    The normalisations of the setup use the samples' own statistics.

    Args:
        setup: the model, its samples and the device; its plan does not matter.
        weights: the model's; not changed.
        events: receives progress events.
        forecast: called with the segments.
    """
    measured, _ = _measure_with_batch_statistics(setup, weights, events, forecast)
    return measured


def measure_and_set_statistics(
    setup: Setup, weights: Parameters, events: Events, forecast: Forecast
) -> dict[LayerIndex, Moments]:
    """Return the moments of every layer's output, and set running statistics to the samples' own.

    Whatever else is measured with these weights uses the same statistics then.

    Args:
        setup: the model, its samples and the device; its plan does not matter.
        weights: the model's; the running statistics of the setup's normalisations are changed.
        events: receives progress events.
        forecast: called with the segments.
    """
    measured, norms = _measure_with_batch_statistics(setup, weights, events, forecast)
    set_running_statistics(setup, weights, norms)
    return measured


def measure_norm_inputs(
    setup: Setup, weights: Parameters, events: Events
) -> dict[NormIndex, Moments]:
    """Return the moments of what every normalisation takes in, with the weights as they are.

    Args:
        setup: the model, its samples and the device; its plan does not matter.
        weights: the model's; not changed.
        events: receives progress events.
    """
    _, norms = _measure_with_batch_statistics(setup, weights, events, lambda _segments: None)
    return norms


def _measure_with_batch_statistics(
    setup: Setup, weights: Parameters, events: Events, forecast: Forecast
) -> tuple[dict[LayerIndex, Moments], dict[NormIndex, Moments]]:
    """Return the moments of every layer's output, and of what every normalisation takes in."""
    setup = replace(setup, plan=without_scaling(setup.plan))
    sweeper = Sweeper(setup, weights, events.advance, setup.measurable)
    forecast(sweeper.segments)
    measured: dict[LayerIndex, Moments] = {}
    norms: dict[NormIndex, Moments] = {}
    while sweeper.position < len(sweeper.segments):
        _, solution = sweeper.run()
        measured |= solution.outputs
        norms |= solution.norms
    return measured, norms
