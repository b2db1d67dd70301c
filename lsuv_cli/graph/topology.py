"""Order of execution of a graph's nodes."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx

from lsuv_cli.core.errors import ModelError
from lsuv_cli.graph.nodes import bodies, node_name, values_read
from lsuv_cli.graph.uses import Uses


def operators_used(
    nodes: Iterable[onnx.NodeProto], functions: Iterable[onnx.FunctionProto]
) -> set[tuple[str, str]]:
    """Return (domain, name) of every operator, in bodies and local functions too, but functions."""
    functions = list(functions)
    pending = [*nodes, *(node for function in functions for node in function.node)]
    used = set()
    while pending:
        node = pending.pop()
        used.add((node.domain, node.op_type))
        pending += [inner for body in bodies(node) for inner in body.node]
    return used - {(function.domain, function.name) for function in functions}


def execution_order(
    graph: onnx.GraphProto, path: Path, parameters: Iterable[str] = ()
) -> list[onnx.NodeProto]:
    """Return the graph's nodes, each after those it reads from, else in the order of the file.

    Args:
        graph: any graph, its nodes in any order.
        path: the model's file, for messages.
        parameters: names of initializers that the graph does not hold itself.

    Raises:
        ModelError: a value that a node reads is never made, is made twice, or depends on itself.
    """
    given = {value.name for value in graph.input}
    given.update(parameters)
    given.update(tensor.name for tensor in graph.initializer)
    given.update(tensor.values.name for tensor in graph.sparse_initializer)
    nodes = list(graph.node)
    producers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in producers or name in given:
                raise ModelError(
                    f"the graph in {path} is broken: the node {node_name(node)} makes the value "
                    f"{name}, which exists already; export the model again"
                )
            producers[name] = index
    needed: list[set[int]] = []
    for node in nodes:
        read = values_read(node)
        missing = sorted(read - given - producers.keys())
        if missing:
            raise ModelError(
                f"the graph in {path} is broken: the node {node_name(node)} reads the value "
                f"{missing[0]}, which no node produces; export the model again"
            )
        needed.append({producers[name] for name in read if name in producers})
    return [nodes[index] for index in _sorted(needed, nodes, path)]


def _sorted(needed: Sequence[set[int]], nodes: Sequence[onnx.NodeProto], path: Path) -> list[int]:
    """Return indices, each after those it needs; of those that can come next the smallest."""
    sorter = TopologicalSorter(dict(enumerate(needed)))
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " -> ".join(node_name(nodes[index]) for index in error.args[1])
        raise ModelError(
            f"the graph in {path} is broken: it has a cycle, {cycle}; export the model again"
        ) from None
    order: list[int] = []
    ready: list[int] = []
    while sorter.is_active():
        for index in sorter.get_ready():
            heapq.heappush(ready, index)
        index = heapq.heappop(ready)
        order.append(index)
        sorter.done(index)
    return order


def needed_nodes(nodes: Sequence[onnx.NodeProto], values: Iterable[str]) -> list[onnx.NodeProto]:
    """Return those of some nodes that the values depend on, in the order they are in."""
    return Uses(nodes).needed(values)
