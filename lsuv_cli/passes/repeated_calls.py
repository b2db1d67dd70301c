"""Parameters of a module that are stored once for each of its calls: tied again."""

from __future__ import annotations

import re

import numpy as np
import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.torch_origin import MADE_UP, is_from_torch, module_path
from lsuv_cli.graph.views import View
from lsuv_cli.passes.pipeline import Pass


def tie_repeated_calls(graph: EditableGraph) -> None:
    """Tie the parameters of a module's second call and later ones with those of the first.

    An exporter that folds constants reorders the gates, or transposes a Linear's weight, at each
    call, and names the module of the second call `rnn_1`.
    """
    if not is_from_torch(graph.model):
        return
    calls: dict[tuple[str, str], onnx.NodeProto] = {}
    same: dict[str, str] = {}
    for node in graph.nodes:
        is_module = operator_of(node).gates or node.op_type == "MatMul"
        path = module_path(node.name) if is_module else ""
        again = re.fullmatch(r"(.+)_\d+", path)
        first = calls.get((node.op_type, again[1])) if again else None
        if first is not None and not _are_calls(node, first, graph):
            first = None
        pairs = list(zip(node.input[1:4], first.input[1:4], strict=False)) if first else []
        if pairs and all(_are_equal(one, other, graph) for one, other in pairs):
            same |= {one: other for one, other in pairs if one and one != other}
        elif path:
            calls.setdefault((node.op_type, path), node)
    for name, original in same.items():
        graph.tie(name, View(original))


def _are_calls(node: onnx.NodeProto, first: onnx.NodeProto, graph: EditableGraph) -> bool:
    """Return whether two nodes may be calls of one module: two modules have parameters each."""
    if operator_of(node).gates:
        return True
    if any(not MADE_UP.fullmatch(one.input[1]) for one in (node, first)):
        return False
    addends = [_addends(one, graph) for one in (node, first)]
    own = f"{module_path(node.name)}."
    return addends[0] == addends[1] and not any(name.startswith(own) for name in graph.parameters)


def _addends(node: onnx.NodeProto, graph: EditableGraph) -> list[str]:
    """Return the parameters that are added to what a node makes."""
    adds = (one for one in graph.readers(node.output[0]) if one.op_type == "Add")
    return [name for add in adds for name in add.input if graph.is_weight(name)]


def _are_equal(one: str, other: str, graph: EditableGraph) -> bool:
    one, other = (graph.copies.get(name, name) for name in (one, other))
    if one == other:
        return True
    if one not in graph.stored or other not in graph.stored:
        return False
    first, second = graph.stored[one], graph.stored[other]
    return first.info.shape == second.info.shape and np.array_equal(first.read(), second.read())


PASS = Pass("repeated_calls", tie_repeated_calls, requires=("identity_copies", "rearrangements"))
