"""Moments of every layer's output, measured on the untouched graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsuv_cli.core.events import Events
from lsuv_cli.core.indices import LayerIndex, TapKey, layer_tap
from lsuv_cli.core.journal import moments_entry, moments_of
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.measurements import InstrumentedGraph, Measurement, Measurements
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Specs
from lsuv_cli.engine.setup import Setup
from lsuv_cli.instrument.segments import Segment, cut_for_values
from lsuv_cli.instrument.tapped_graph import tapped_graph
from lsuv_cli.runtime.data_pass import DataPass


def measure_outputs(
    setup: Setup, weights: Mapping[str, FloatArray], events: Events
) -> dict[LayerIndex, Moments]:
    """Return the moments of every layer's output; the samples pass through the untouched graph.

    A layer whose first batch is ill-conditioned is measured around its mean; one that no sample
    reaches is left out.

    Args:
        setup: the model, its plan and its samples.
        weights: the model's.
        events: receives progress events.
    """
    known = setup.journal.recall()
    if known is not None:
        return {index: moments_of(rest) for index, *rest in known["measured"]}
    outputs = {setup.layer_nodes[index].layer.output: index for index in setup.measurable}
    moments: dict[LayerIndex, Moments] = {}
    segments = cut_for_values(setup.model, outputs, setup.max_segment_bytes)
    data_pass = setup.data_pass(events.advance)
    for position, segment in enumerate(segments):
        layers = [outputs[name] for name in segment.makes() & outputs.keys()]
        measured = _measure_segment(setup, weights, data_pass, segments[: position + 1], layers)
        moments |= {i: one.moments for i, one in measured.items() if not one.moments.is_empty}
    setup.store.clear()
    entry = [[index, *moments_entry(one)] for index, one in moments.items()]
    setup.journal.record({"measured": entry})
    return moments


def _measure_segment(
    setup: Setup,
    weights: Mapping[str, FloatArray],
    data_pass: DataPass,
    segments: Sequence[Segment],
    layers: Sequence[LayerIndex],
) -> Mapping[LayerIndex, Measurement]:
    """Measure some layers, all in the last of the segments."""
    centred: frozenset[LayerIndex] = frozenset()

    def build(start: int, specs: Specs) -> InstrumentedGraph:
        return tapped_graph(
            setup.model, setup.layer_nodes, weights, segments[start:], specs, layers, centred
        )

    def ill_conditioned(found: Measurements) -> frozenset[TapKey]:
        return setup.ill_conditioned(found) - {layer_tap(index) for index in centred}

    counts = [segment.node_count for segment in segments]
    while True:
        last = len(segments) - 1
        measured, suspects = data_pass.run(
            last, segments[-1].leaving, build, ill_conditioned, counts
        )
        if not suspects:
            return measured.layers
        centred |= {LayerIndex(key.index) for key in suspects}
