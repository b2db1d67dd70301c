"""Parameters that tf2onnx stored once, being equal."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx

from lsuv_cli.graph.keras_origin import FOLDED_CONSTANT, VARIABLE, scope_of, scope_of_node
from lsuv_cli.graph.operators.table import operator_of

_OTHER_READERS = frozenset(("Add", "Mul", "Sub"))


def separate_layers(nodes: Iterable[onnx.NodeProto], parameters: Collection[str]) -> dict[str, str]:
    """Give layers that share a stored parameter, without being the same layer, one each.

    tf2onnx stores constants of equal values once, whatever variables they are. An embedding is
    shared on purpose.

    Args:
        nodes: modified: they read the new names.
        parameters: the stored parameters' names.

    Returns:
        For each new name the parameter it is a copy of.
    """
    nodes = list(nodes)
    embeddings = {node.input[0] for node in nodes if node.op_type == "Gather"}
    owners: dict[str, tuple[str, ...]] = {}
    copies: dict[str, str] = {}
    for node in nodes:
        reader = scope_of_node(node)
        for position, name in enumerate(node.input):
            if name in embeddings or not reader.layers or not _is_variable(node, name, parameters):
                continue
            scope = scope_of(name)
            own = owners.setdefault(name, scope.layers or reader.layers)
            if own == reader.layers:
                continue
            rest = name.removeprefix(scope.raw).removeprefix("/")
            new = f"{reader.raw}/{rest}"
            if new not in parameters:
                copies[new] = name
                node.input[position] = new
    return copies


def _is_variable(node: onnx.NodeProto, name: str, parameters: Collection[str]) -> bool:
    """Whether it is a variable that the node's own layer has."""
    if name not in parameters:
        return False
    is_product = operator_of(node).product is not None
    if FOLDED_CONSTANT.fullmatch(name):
        return is_product or scope_of_node(node).operation == "BiasAdd"
    return VARIABLE.fullmatch(name) is not None and (is_product or node.op_type in _OTHER_READERS)
