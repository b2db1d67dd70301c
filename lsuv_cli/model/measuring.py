"""A graph that measures a model's layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.records import Feeds, InstrumentedGraph, Tap
from lsuv_cli.model.graph_builder import GraphBuilder
from lsuv_cli.model.layers import LayerSite
from lsuv_cli.model.onnx_model import OnnxModel
from lsuv_cli.model.segments import Segment
from lsuv_cli.model.subgraph import add_parameters, instrumented, needed_nodes
from lsuv_cli.model.taps import add_reading, add_tap, layer_axes


def measuring_graph(
    model: OnnxModel,
    sites: Sequence[LayerSite],
    weights: Mapping[str, FloatArray],
    segment: Segment,
    feeds: Feeds,
    layers: Collection[int],
    *,
    centred: bool,
) -> InstrumentedGraph:
    """The model's own nodes, untouched, with a tap behind some layers.

    Args:
        model: the model.
        sites: its layers, in execution order.
        weights: a value for each floating-point initializer.
        segment: the part of the model to run.
        feeds: what will be fed.
        layers: the indices of those to measure, all in the segment.
        centred: measure around the mean, which is slower and takes more memory, but loses no
            digits where the mean is large beside the deviation. Such a graph hands nothing on.
    """
    builder = GraphBuilder(model.opset)
    made = set() if centred else segment.carried & segment.makes()
    wanted = [*(sites[index].layer.output for index in layers), *sorted(made)]
    needed = needed_nodes(segment.nodes, wanted)
    builder.nodes += needed
    add_parameters(builder, needed, weights)
    taps: dict[int, Tap] = {}
    for index in sorted(layers):
        site = sites[index]
        moments = add_tap(builder, layer_axes(site), site.layer.output, centred=centred)
        taps[index] = Tap(add_reading(builder, moments, site.layer.layout.out_channels))
    return instrumented(builder, model, feeds, taps, carried={name: name for name in sorted(made)})
