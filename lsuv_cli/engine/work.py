"""What is done with a model and samples: draw, sweep, scale, measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lsuv_cli.core.batches import Batches
from lsuv_cli.core.choices import Bias, Per, PreInit
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.journal import Journal, NoJournal, moments_entry, moments_of
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.preinit import Float32Array, draw, generator, orthonormal_flops
from lsuv_cli.core.records import InstrumentedGraph, Plan, Reading, Readings, Specs
from lsuv_cli.core.solve import Solution
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.measure import measuring_graph
from lsuv_cli.instrument.segments import Segment, cut_for_values
from lsuv_cli.layers.biases import stored_bias
from lsuv_cli.layers.find import LayerSite
from lsuv_cli.layers.norms import NormSite
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.runtime.devices import Device
from lsuv_cli.runtime.passage import Passage
from lsuv_cli.runtime.store import ValueStore
from lsuv_cli.weights.qr import Factorisation, choose_qr

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
        batches: the samples of this process.
        group: the processes that share the samples.
        store: where batches are kept between segments.
        device: where sessions run.
        max_segment_bytes: bytes of weights in one session.
        journal: what has been measured before.
    """

    model: OnnxModel
    sites: Sequence[LayerSite]
    plan: Plan
    norms: Sequence[NormSite]
    batches: Batches
    group: Group
    store: ValueStore
    device: Device
    max_segment_bytes: int
    journal: Journal = field(default_factory=NoJournal)

    @property
    def alone(self) -> bool:
        """Whether all samples are one batch."""
        return self.group.size == 1 and len(self.batches.counts) == 1

    @property
    def measurable(self) -> list[int]:
        """The layers that have an output which depends on the samples."""
        return [
            index
            for index, site in enumerate(self.sites)
            if site.takes_data and not site.layer.recurrent
        ]

    def passage(self, advance: Callable[[int, int], None]) -> Passage:
        """A new way of the samples through the model."""
        activations = len(self.sites) + len(self.norms)
        return Passage(self.batches, self.store, self.group, self.device, activations, advance)

    def doubtful(
        self, readings: Mapping[int, Reading], centred: Collection[int] = ()
    ) -> frozenset[int]:
        """The layers whose variance, measured in one pass, may have lost digits.

        Args:
            readings: what was measured.
            centred: those of the layers whose channels are going to be centred.
        """
        per_channel = self.plan.per is Per.CHANNEL
        return frozenset(
            index
            for index, reading in readings.items()
            # Not a number is doubtful too.
            if not reading.moments.condition(per_channel=per_channel, centred=index in centred)
            <= MAX_CONDITION
        )

    def doubtful_norms(self, readings: Mapping[int, Reading]) -> frozenset[int]:
        """The normalisations of which some channel's variance may have lost digits."""
        return frozenset(
            index
            for index, reading in readings.items()
            # A channel that is always zero is not doubtful.
            if not np.all(reading.moments.mean_square <= MAX_CONDITION * reading.moments.variance)
        )


def measure(work: Work, weights: Mapping[str, FloatArray], events: Events) -> dict[int, Moments]:
    """The moments of every layer's output, forwarded through the untouched graph.

    In one pass; where a layer's first batch leaves doubts, its variance is measured around the
    mean.
    """
    known = work.journal.recall()
    if known is not None:
        return {index: moments_of(rest) for index, *rest in known["measured"]}
    outputs = {work.sites[index].layer.output: index for index in work.measurable}
    moments: dict[int, Moments] = {}
    segments = cut_for_values(work.model, outputs, work.max_segment_bytes)
    passage = work.passage(events.advance)
    for position, segment in enumerate(segments):
        layers = [outputs[name] for name in segment.makes() & outputs.keys()]
        measured = _measure_segment(work, weights, passage, segments[: position + 1], layers)
        moments |= {index: reading.moments for index, reading in measured.items()}
    work.store.clear()
    entry = [[index, *moments_entry(one)] for index, one in moments.items()]
    work.journal.record({"measured": entry})
    return moments


def _measure_segment(
    work: Work,
    weights: Mapping[str, FloatArray],
    passage: Passage,
    segments: Sequence[Segment],
    layers: Sequence[int],
) -> Mapping[int, Reading]:
    """Measure some layers, all in the last of the segments."""
    centred: frozenset[int] = frozenset()

    def build(start: int, specs: Specs) -> InstrumentedGraph:
        return measuring_graph(
            work.model, work.sites, weights, segments[start:], specs, layers, centred
        )

    def doubtful(readings: Readings) -> frozenset[int]:
        return work.doubtful(readings.layers) - centred

    counts = [segment.node_count for segment in segments]
    while True:
        last = len(segments) - 1
        readings, doubts = passage.run(last, segments[-1].leaving, build, doubtful, counts)
        if not doubts:
            return readings.layers
        centred |= doubts


def choose_factorisation(plan: Plan, pre_init: PreInit, device: Device) -> Factorisation:
    """The QR factorisation for all the orthonormal matrices that the plan wants."""
    drawn = [plan.layers[index].layer.layout for index in plan.initialised()]
    flops = sum(map(orthonormal_flops, drawn)) if pre_init is PreInit.ORTHONORMAL else 0.0
    where = f"cuda:{device.index}" if device.memory == "cuda" else "cpu"
    return choose_qr(flops, where, device.threads)


def pre_initialise(
    work: Work,
    weights: Parameters,
    layers: Sequence[int],
    options: WorkOptions,
    factorisation: Factorisation,
    events: Events,
) -> None:
    """Replace the weights of some layers by draws."""
    if options.pre_init is PreInit.KEEP or not layers:
        return
    events.stage("pre-initialising", len(layers))

    def drawn(index: int) -> Float32Array:
        layer = work.plan.layers[index].layer
        kind = PreInit.ORTHONORMAL if layer.recurrent else options.pre_init
        rng = generator(options.seed, layer.parameter)
        return draw(kind, layer.layout, rng, factorisation.qr)

    names = [work.plan.layers[index].layer.weight for index in layers]
    parts = Counter(work.model.view(name).source for name in names)
    for name in names:
        # Of a parameter that is drawn part by part, each part is set into what is there.
        if parts[work.model.view(name).source] == 1:
            weights.release(name)
    with factorisation.mapping() as map_:
        for done, (name, weight) in enumerate(zip(names, map_(drawn, layers), strict=True), 1):
            weights.set(name, weight)
            events.advance(done, len(layers))


def clear_biases(work: Work, weights: Parameters) -> None:
    """Set the biases to zero of those layers that a sweep does not measure."""
    for planned in work.plan.layers:
        layer = planned.layer
        if not (planned.skipped or planned.swept or planned.bias is Bias.KEEP) and layer.bias:
            weights.set(layer.bias, np.zeros(layer.bias_shape, np.float32))


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
        site = work.norms[index]
        # What exceeds the dtype is infinite, as it is where the samples' statistics are used.
        with np.errstate(over="ignore"):
            weights.set(site.running_mean, moments.mean)
            weights.set(site.running_variance, moments.variance)
