"""The graph that measures the outputs of layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lsuv_cli.core.indices import LayerIndex, TapKey, layer_tap
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.measurements import InstrumentedGraph, Tap
from lsuv_cli.core.records import Specs
from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.graph.topology import needed_nodes
from lsuv_cli.instrument.close import add_parameters, instrumented
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.instrument.taps import add_layer_tap
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.reading.model import OnnxModel


def tapped_graph(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    weights: Mapping[str, FloatArray],
    segments: Sequence[Segment],
    feeds: Specs,
    layers: Collection[LayerIndex],
    centred: Collection[LayerIndex] = (),
) -> InstrumentedGraph:
    """Build the model's own graph with a tap after some layers.

    Args:
        model: the model.
        layer_nodes: its layers, in execution order.
        weights: a value for each floating-point initializer.
        segments: the part of the model to run: a segment, after others that are run again.
        feeds: the graph's inputs.
        layers: the indices of those to measure, all in the last segment.
        centred: those of them to measure around the mean, which is slower and takes more memory,
            but loses no digits where the mean is large beside the deviation.
    """
    builder = GraphBuilder(model.opset)
    made = sorted(segments[-1].leaving & {name for one in segments for name in one.makes()})
    nodes = [node for segment in segments for node in segment.nodes]
    builder.nodes += needed_nodes(
        nodes, [*(layer_nodes[index].layer.output for index in layers), *made]
    )
    add_parameters(builder, builder.nodes, weights)
    taps: dict[TapKey, Tap] = {}
    for index in sorted(layers):
        output = layer_nodes[index].layer.output
        _, taps[layer_tap(index)] = add_layer_tap(
            builder, layer_nodes[index], output, centred=index in centred
        )
    return instrumented(builder, model, feeds, taps, carried={name: name for name in made})
