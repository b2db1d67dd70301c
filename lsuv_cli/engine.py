"""What is done with a model and samples: draw, sweep, scale, measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.choices import Bias, Per, PreInit
from lsuv_cli.core.events import Events
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import InitOptions
from lsuv_cli.core.preinit import draw, generator, orthonormal_flops
from lsuv_cli.core.records import Feeds, Plan, Reading, Readings
from lsuv_cli.core.solve import Solution, Solutions, solve
from lsuv_cli.model.biases import per_channel_bias, stored_bias
from lsuv_cli.model.layers import LayerSite
from lsuv_cli.model.measuring import measuring_graph
from lsuv_cli.model.names import Naming
from lsuv_cli.model.norms import NormSite
from lsuv_cli.model.onnx_file import OnnxModel
from lsuv_cli.model.parameters import Parameters
from lsuv_cli.model.sweeping import sweeping_graph
from lsuv_cli.sweep.session import Device
from lsuv_cli.sweep.whole import run_graph
from lsuv_cli.weights.qr import choose_qr

# A one-pass variance is trusted while the mean square is at most this many times as large: float32
# planes carry errors near 1e-8 once they are averaged, so the variance is then good to 1e-6.
MAX_CONDITION = 32.0


@dataclass(frozen=True, slots=True)
class Work:
    """What stays the same while the weights change."""

    model: OnnxModel
    sites: Sequence[LayerSite]
    plan: Plan
    naming: Naming
    others: Mapping[str, NDArray[Any]]
    norms: Sequence[NormSite]
    feeds: Feeds
    device: Device


def measure(work: Work, weights: Mapping[str, FloatArray]) -> dict[int, Moments]:
    """The moments of every layer's output, forwarded through the untouched graph.

    In one pass; the layers where that leaves doubts, around the mean in a second run.
    """
    layers = [index for index, site in enumerate(work.sites) if site.takes_data]
    moments: dict[int, Moments] = {}
    for centred in (False, True):
        graph = measuring_graph(work.model, work.sites, weights, layers, centred=centred)
        readings = run_graph(graph, work.feeds, work.device).layers
        moments |= {index: reading.moments for index, reading in readings.items()}
        layers = _doubtful(readings, work.plan)
        if not layers:
            break
    return moments


def _doubtful(readings: Mapping[int, Reading], plan: Plan) -> list[int]:
    """The layers whose variance, measured in one pass, may have lost digits."""
    return [
        index
        for index, reading in readings.items()
        # Not a number is doubtful too.
        if not reading.moments.condition(per_channel=plan.per is Per.CHANNEL) <= MAX_CONDITION
    ]


def pre_initialise(work: Work, weights: Parameters, options: InitOptions, events: Events) -> None:
    """Replace the planned layers' weights by draws."""
    if options.pre_init is PreInit.KEEP:
        return
    layers = [work.plan.layers[index].layer for index in work.plan.initialised()]
    flops = 0.0
    if options.pre_init is PreInit.ORTHONORMAL:
        flops = sum(orthonormal_flops(layer.layout) for layer in layers)
    qr = choose_qr(flops)
    events.stage("pre-initialising", len(layers))
    for done, layer in enumerate(layers, 1):
        weights.release(layer.weight)
        rng = generator(options.seed, layer.parameter)
        weights.set(layer.weight, draw(options.pre_init, layer.layout, rng, qr))
        events.advance(done, len(layers))


def sweep(work: Work, weights: Parameters) -> Solutions:
    """Sweep in one pass; where that leaves doubts, once more in the literal form."""
    biases = {
        index: per_channel_bias(site, weights[site.layer.bias])
        for index, site in enumerate(work.sites)
        if site.layer.bias is not None and work.plan.layers[index].bias is Bias.KEEP
    }
    readings = Readings({}, {})
    for cautious in (False, True):
        graph = sweeping_graph(
            work.model, work.sites, work.plan, weights, work.norms, cautious=cautious
        )
        readings = run_graph(graph, work.feeds, work.device)
        if not _doubtful(readings.layers, work.plan):
            break
    return solve(work.plan, readings, biases)


def apply(work: Work, weights: Parameters, solutions: Mapping[int, Solution]) -> None:
    """Scale the weights and set the biases."""
    for index, solution in solutions.items():
        planned, site = work.plan.layers[index], work.sites[index]
        layer = planned.layer
        if planned.first_use == index:
            weights.set(layer.weight, layer.layout.rescale(weights[layer.weight], solution.scale))
        if layer.bias is None or planned.bias is Bias.KEEP:
            continue
        old = weights[layer.bias]
        new = np.zeros_like(old)
        mean = solution.moments.mean * solution.scale
        if planned.bias is Bias.CENTER and np.isfinite(mean).all():
            new = stored_bias(site, -mean).astype(old.dtype)
        weights.set(layer.bias, new)


def set_running_statistics(work: Work, weights: Parameters, norms: Mapping[int, Moments]) -> None:
    """Set BatchNormalization's running mean and population variance to those of the samples."""
    for index, moments in norms.items():
        if moments.is_finite:
            site = work.norms[index]
            weights.set(site.running_mean, moments.mean)
            weights.set(site.running_variance, moments.variance)
