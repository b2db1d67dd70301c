"""What is done with a model and samples: draw, sweep, scale, measure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lsuv_cli.core.choices import Bias, Per, PreInit
from lsuv_cli.core.events import Events
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.options import InitOptions
from lsuv_cli.core.preinit import QrFactorisation, draw, generator, orthonormal_flops
from lsuv_cli.core.records import Feeds, Plan, Reading, Readings
from lsuv_cli.core.solve import Solution, Solutions, solve
from lsuv_cli.model.biases import per_channel_bias, stored_bias
from lsuv_cli.model.layers import LayerSite
from lsuv_cli.model.measuring import measuring_graph
from lsuv_cli.model.norms import NormSite
from lsuv_cli.model.onnx_model import OnnxModel
from lsuv_cli.model.parameters import Parameters
from lsuv_cli.model.segments import Segment, cut_segments
from lsuv_cli.model.sweeping import sweeping_graph
from lsuv_cli.sweep.session import Device
from lsuv_cli.sweep.whole import run_graph
from lsuv_cli.weights.qr import choose_qr

# A one-pass variance is trusted while the mean square is at most this many times as large: float32
# planes carry errors near 1e-8 once they are averaged, so the variance is then good to 1e-6.
MAX_CONDITION = 32.0


@dataclass(frozen=True, slots=True)
class Work:
    """What stays the same while the weights change.

    Attributes:
        model: the model.
        sites: its layers, in execution order.
        plan: what is done with each.
        norms: batch normalisations that are to use the samples' statistics.
        feeds: the samples, one batch.
        samples: how many they are.
        device: where sessions run.
        max_segment_bytes: bytes of weights in one session.
    """

    model: OnnxModel
    sites: Sequence[LayerSite]
    plan: Plan
    norms: Sequence[NormSite]
    feeds: Feeds
    samples: int
    device: Device
    max_segment_bytes: int

    def segments(self, values: Iterable[str]) -> list[Segment]:
        """The segments in which what some values depend on is run."""
        return cut_segments(self.model, self.sites, values, self.max_segment_bytes)


def measure(work: Work, weights: Mapping[str, FloatArray]) -> dict[int, Moments]:
    """The moments of every layer's output, forwarded through the untouched graph.

    In one pass; the layers where that leaves doubts, around the mean in a second run.
    """
    outputs = {
        site.layer.output: index
        for index, site in enumerate(work.sites)
        if site.takes_data and not site.layer.recurrent
    }
    moments: dict[int, Moments] = {}
    feeds = work.feeds
    for segment in work.segments(outputs):
        layers = [outputs[name] for name in segment.makes() & outputs.keys()]
        carried: Feeds = {}
        for centred in (False, True):
            graph = measuring_graph(
                work.model, work.sites, weights, segment, feeds, layers, centred=centred
            )
            readings = run_graph(graph, feeds, work.samples, work.device)
            moments |= {index: reading.moments for index, reading in readings.layers.items()}
            carried = carried or readings.carried
            layers = _doubtful(readings.layers, work.plan)
            if not layers:
                break
        feeds = segment.hand_on(work.feeds, feeds, carried)
    return moments


def _doubtful(readings: Mapping[int, Reading], plan: Plan) -> list[int]:
    """The layers whose variance, measured in one pass, may have lost digits."""
    return [
        index
        for index, reading in readings.items()
        # Not a number is doubtful too.
        if not reading.moments.condition(per_channel=plan.per is Per.CHANNEL) <= MAX_CONDITION
    ]


def choose_factorisation(plan: Plan, pre_init: PreInit) -> QrFactorisation:
    """The QR factorisation for all the orthonormal matrices that the plan wants."""
    drawn = [plan.layers[index].layer.layout for index in plan.initialised()]
    flops = sum(map(orthonormal_flops, drawn)) if pre_init is PreInit.ORTHONORMAL else 0.0
    return choose_qr(flops)


def pre_initialise(
    work: Work,
    weights: Parameters,
    layers: Sequence[int],
    options: InitOptions,
    qr: QrFactorisation,
    events: Events,
) -> None:
    """Replace the weights of some layers by draws."""
    if options.pre_init is PreInit.KEEP or not layers:
        return
    events.stage("pre-initialising", len(layers))
    for done, index in enumerate(layers, 1):
        layer = work.plan.layers[index].layer
        kind = PreInit.ORTHONORMAL if layer.recurrent else options.pre_init
        weights.release(layer.weight)
        rng = generator(options.seed, layer.parameter)
        weights.set(layer.weight, draw(kind, layer.layout, rng, qr))
        events.advance(done, len(layers))


def clear_biases(work: Work, weights: Parameters) -> None:
    """Set the biases to zero of those layers that a sweep does not measure."""
    for planned in work.plan.layers:
        layer = planned.layer
        if not (planned.skipped or planned.swept or planned.bias is Bias.KEEP) and layer.bias:
            weights.set(layer.bias, np.zeros(layer.bias_shape, np.float32))


def sweeping_segments(work: Work) -> list[Segment]:
    """The segments of a sweep, which runs as far as the last layer that is scaled."""
    products = [
        work.sites[index].node.output[0]
        for index, planned in enumerate(work.plan.layers)
        if planned.swept
    ]
    return work.segments([*products, *(site.node.output[0] for site in work.norms)])


def pending_draws(work: Work, segments: Sequence[Segment]) -> list[list[int]]:
    """For each segment the layers to be drawn before it, and last those that none reads."""
    pending = work.plan.initialised()
    draws = []
    for segment in segments:
        here = [i for i in pending if _source(work, i) in segment.parameters]
        draws.append(here)
        pending = [index for index in pending if index not in here]
    return [*draws, pending]


def _source(work: Work, index: int) -> str:
    return work.model.view(work.plan.layers[index].layer.weight).source


def sweep(
    work: Work,
    weights: Parameters,
    segment: Segment,
    feeds: Feeds,
    settled: Mapping[int, Float64Array],
) -> tuple[Solutions, Feeds]:
    """Sweep a segment in one pass; where that leaves doubts, once more in the literal form.

    Args:
        work: what stays the same.
        weights: as the segments before have left them.
        segment: the segment.
        feeds: what it is fed.
        settled: `Solutions.settled` of the segments before.

    Returns:
        What follows from it, and what the next segment is fed.
    """
    made = segment.makes()
    biases = {
        index: per_channel_bias(site, weights[site.layer.bias])
        for index, site in enumerate(work.sites)
        if site.layer.bias is not None
        and work.plan.layers[index].swept
        and work.plan.layers[index].bias is Bias.KEEP
        and site.node.output[0] in made
    }
    readings = Readings({}, {})
    for cautious in (False, True):
        graph = sweeping_graph(
            work.model,
            work.sites,
            work.plan,
            weights,
            segment,
            feeds,
            settled,
            work.norms,
            cautious=cautious,
        )
        readings = run_graph(graph, feeds, work.samples, work.device)
        if not _doubtful(readings.layers, work.plan):
            break
    handed_on = segment.hand_on(work.feeds, feeds, readings.carried)
    return solve(work.plan, readings, biases, settled), handed_on


def apply(
    work: Work,
    weights: Parameters,
    solutions: Mapping[int, Solution],
    scales: Mapping[int, Float64Array],
) -> None:
    """Scale the weights and set the biases.

    Args:
        work: what stays the same.
        weights: modified.
        solutions: for each swept layer's index what was found there.
        scales: for each weight, told by the index of its first use, its scale.
    """
    for first, scale in scales.items():
        layer = work.plan.layers[first].layer
        if np.any(scale != 1):
            weights.set(layer.weight, layer.layout.rescale(weights[layer.weight], scale))
    for index, solution in solutions.items():
        planned, site = work.plan.layers[index], work.sites[index]
        layer = planned.layer
        if layer.bias is None or planned.bias is Bias.KEEP:
            continue
        old = weights[layer.bias]
        new = np.zeros_like(old)
        mean = solution.moments.mean * scales[planned.first_use]
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
