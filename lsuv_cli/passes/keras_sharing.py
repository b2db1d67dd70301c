"""Parameters that tf2onnx stored once because they are equal: one per layer again."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.keras_origin import (
    FOLDED_CONSTANT,
    VARIABLE,
    is_from_tf2onnx,
    scope_of,
    scope_of_node,
)
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.passes.pipeline import Pass

_OTHER_READERS = frozenset(("Add", "Mul", "Sub"))


def separate_layers(graph: EditableGraph) -> None:
    """Give layers that share a stored parameter, without being the same layer, one each.

    tf2onnx stores constants of equal values once, whatever variables they are. An embedding is
    shared on purpose.
    """
    if graph.keeps_ties or not is_from_tf2onnx(graph.model):
        return
    nodes = graph.nodes
    embeddings = {node.input[0] for node in nodes if node.op_type == "Gather"}
    owners: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        reader = scope_of_node(node)
        for position, name in enumerate(node.input):
            if (
                name in embeddings
                or not reader.layers
                or not _is_variable(node, name, graph.stored)
            ):
                continue
            scope = scope_of(name)
            own = owners.setdefault(name, scope.layers or reader.layers)
            if own == reader.layers:
                continue
            rest = name.removeprefix(scope.raw).removeprefix("/")
            new = f"{reader.raw}/{rest}"
            if new not in graph.stored:
                graph.add_copy(new, name)
                graph.set_input(node, position, new)


def _is_variable(node: onnx.NodeProto, name: str, parameters: Collection[str]) -> bool:
    """Say whether a value is a variable of the node's own layer."""
    if name not in parameters:
        return False
    is_product = operator_of(node).product is not None
    if FOLDED_CONSTANT.fullmatch(name):
        return is_product or scope_of_node(node).operation == "BiasAdd"
    return VARIABLE.fullmatch(name) is not None and (is_product or node.op_type in _OTHER_READERS)


PASS = Pass("keras_sharing", separate_layers, requires=("identity_copies",), separates=True)
