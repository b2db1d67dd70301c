"""Which way the samples go through a model's If, Loop and Scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lsuv_cli.core.records import Feeds
from lsuv_cli.model.control_flow import (
    Decisions,
    can_be_written_out,
    controlling_nodes,
    probes,
)
from lsuv_cli.model.graph_builder import GraphBuilder
from lsuv_cli.model.nodes import NewNames, names_in, values_read
from lsuv_cli.model.onnx_file import ModelSource
from lsuv_cli.model.onnx_model import model_of
from lsuv_cli.model.parameters import Sources
from lsuv_cli.model.subgraph import add_parameters, instrumented, needed_nodes
from lsuv_cli.model.writing_out import written_out
from lsuv_cli.sweep.session import Device
from lsuv_cli.sweep.whole import run_graph


def find_way(
    source: ModelSource, weights: Sources, feeds: Feeds, device: Device
) -> list[Decisions]:
    """Follow the samples through the nodes that decide which layers they meet.

    Args:
        source: the model.
        weights: other values than the file's, for those parameters that are named.
        feeds: the samples.
        device: where the model runs.

    Returns:
        What is decided, for one level of nesting after the other; none where no layer is in a body.
    """
    decisions: list[Decisions] = []
    given_up: set[str] = set()
    while True:
        known = {name: weights[name] for name in source.weights if name in weights}
        source = replace(source, weights={**source.weights, **known})
        nodes = [n for n in controlling_nodes(source) if n.output[0] not in given_up]
        if not nodes:
            return decisions
        found = _probe(source, {node.output[0] for node in nodes}, feeds, device)
        for node in nodes:
            if not can_be_written_out(node, found[node.output[0]]):
                given_up.add(node.output[0])
                del found[node.output[0]]
        if found:
            decisions.append(found)
            source = written_out(source, found)


def along(source: ModelSource, decisions: Sequence[Decisions]) -> ModelSource:
    """The model written out along a way that `find_way` found."""
    for level in decisions:
        source = written_out(source, level)
    return source


def _probe(source: ModelSource, wanted: set[str], feeds: Feeds, device: Device) -> dict[str, int]:
    """Run the model as far as some of its controlling nodes, and see what they do."""
    model, weights = model_of(source)
    names = NewNames(names_in(model.skeleton.graph) | set(weights))
    builder = GraphBuilder(model.opset)
    ways: dict[str, str] = {}
    added = []
    for node in model.nodes:
        if node.output and node.output[0] in wanted:
            more, ways[node.output[0]] = probes(node, names)
            added += more
    read = {name for node in added for name in values_read(node)}
    builder.nodes += [*needed_nodes(model.nodes, read), *added]
    add_parameters(builder, builder.nodes, weights)
    carried = {way: way for way in ways.values()}
    graph = instrumented(builder, model, feeds, {}, carried=carried)
    fetched = run_graph(graph, feeds, 1, device).carried
    return {name: int(fetched[way].item()) for name, way in ways.items()}
