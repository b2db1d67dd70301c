"""Parameters of a recurrent module that are stored once for each of its calls: tied again."""

from __future__ import annotations

import re

import numpy as np
import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.torch_origin import is_from_torch, module_path
from lsuv_cli.graph.views import View
from lsuv_cli.passes.pipeline import Pass


def tie_repeated_calls(graph: EditableGraph) -> None:
    """Tie the parameters of a module's second call and later ones with those of the first.

    An exporter that folds constants reorders the gates at each call, and names the module of the
    second call `rnn_1`.
    """
    if not is_from_torch(graph.model):
        return
    calls: dict[tuple[str, str], onnx.NodeProto] = {}
    same: dict[str, str] = {}
    for node in graph.nodes:
        path = module_path(node.name) if operator_of(node).gates else ""
        again = re.fullmatch(r"(.+)_\d+", path)
        first = calls.get((node.op_type, again[1])) if again else None
        pairs = list(zip(node.input[1:4], first.input[1:4], strict=False)) if first else []
        if pairs and all(_are_equal(one, other, graph) for one, other in pairs):
            same |= {one: other for one, other in pairs if one and one != other}
        elif path:
            calls.setdefault((node.op_type, path), node)
    for name, original in same.items():
        graph.tie(name, View(original))


def _are_equal(one: str, other: str, graph: EditableGraph) -> bool:
    one, other = (graph.copies.get(name, name) for name in (one, other))
    if one == other:
        return True
    if one not in graph.stored or other not in graph.stored:
        return False
    first, second = graph.stored[one], graph.stored[other]
    return first.info.shape == second.info.shape and np.array_equal(first.read(), second.read())


PASS = Pass("repeated_calls", tie_repeated_calls, requires=("identity_copies", "rearrangements"))
