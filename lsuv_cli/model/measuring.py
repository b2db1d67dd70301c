"""A graph that measures a model's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.records import InstrumentedGraph, Tap
from lsuv_cli.model.graph_builder import GraphBuilder
from lsuv_cli.model.layers import LayerSite
from lsuv_cli.model.onnx_file import OnnxModel
from lsuv_cli.model.subgraph import add_parameters, instrumented, needed_nodes
from lsuv_cli.model.taps import add_reading, add_tap


def measuring_graph(
    model: OnnxModel, sites: Sequence[LayerSite], weights: Mapping[str, FloatArray]
) -> InstrumentedGraph:
    """The model's own nodes, untouched, with a tap behind every layer.

    Args:
        model: the model.
        sites: its layers, in execution order.
        weights: a value for each floating-point initializer.
    """
    builder = GraphBuilder(model.opset)
    needed = needed_nodes(model, [site.layer.output for site in sites])
    builder.nodes += needed
    add_parameters(builder, needed, weights)
    taps: dict[int, Tap] = {}
    for index, site in enumerate(sites):
        if site.takes_data:
            moments = add_tap(builder, site, site.layer.output, centred=True)
            channels = site.layer.layout.out_channels
            taps[index] = Tap(add_reading(builder, moments, channels))
    return instrumented(builder, model, taps)
