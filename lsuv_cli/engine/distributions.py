"""Distributions of the layers' outputs, measured in one more pass of the samples."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from lsuv_cli.core.distribution import Distribution, bin_shares, histogram_edges
from lsuv_cli.core.events import Events
from lsuv_cli.core.indices import LayerIndex, TapKey
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.measurements import InstrumentedGraph, Measurement, Measurements
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import Specs
from lsuv_cli.engine.setup import Setup
from lsuv_cli.instrument.distribution_graph import distribution_graph
from lsuv_cli.instrument.segments import cut_for_values
from lsuv_cli.layers.activations import Activations, activations_behind


def find_distributions(
    setup: Setup,
    weights: Mapping[str, FloatArray],
    moments: Mapping[LayerIndex, Moments],
    events: Events,
) -> dict[LayerIndex, Distribution]:
    """Measure how outputs and activations are distributed; all samples pass once more.

    Args:
        setup: the model, its plan and its samples.
        weights: the model's.
        moments: those of the outputs of the layers to look at, with these weights.
        events: receives progress events.

    Returns:
        The distribution at each of these layers whose output is finite and not empty.
    """
    edges = {index: histogram_edges(one) for index, one in moments.items() if one.is_finite}
    if not edges:
        return {}
    activations = {
        index: node
        for index, node in activations_behind(setup.model, setup.layer_nodes).items()
        if index in edges
    }
    measured = _measure(setup, weights, edges, activations, events)
    shares_below, active = measured.layers, measured.activations
    return {
        index: Distribution(
            bounds,
            bin_shares(shares_below[index].moments.mean),
            activations[index].op_type if index in activations else "",
            active[index].moments.mean if index in active else None,
        )
        for index, bounds in edges.items()
        if not shares_below[index].moments.is_empty
    }


def _measure(
    setup: Setup,
    weights: Mapping[str, FloatArray],
    edges: Mapping[LayerIndex, Float64Array],
    activations: Activations,
    events: Events,
) -> Measurements:
    """Have all samples pass through the graph that taps some layers and activations."""
    layer_nodes = setup.layer_nodes
    values = [layer_nodes[index].layer.output for index in edges]
    values += [node.output[0] for node in activations.values()]
    segments = cut_for_values(setup.model, values, setup.max_segment_bytes)
    data_pass = setup.data_pass(events.advance)
    found: dict[TapKey, Measurement] = {}
    for position, segment in enumerate(segments):
        made = segment.makes()

        def build(
            start: int, specs: Specs, position: int = position, made: AbstractSet[str] = made
        ) -> InstrumentedGraph:
            return distribution_graph(
                setup.model,
                layer_nodes,
                weights,
                segments[start : position + 1],
                specs,
                {i: one for i, one in edges.items() if layer_nodes[i].layer.output in made},
                {i: node for i, node in activations.items() if node.output[0] in made},
            )

        counts = [one.node_count for one in segments[: position + 1]]
        measured, _ = data_pass.run(position, segment.leaving, build, _no_suspects, counts)
        found |= measured.taps
    setup.store.clear()
    return Measurements(found)


def _no_suspects(_readings: Measurements) -> frozenset[TapKey]:
    return frozenset()
