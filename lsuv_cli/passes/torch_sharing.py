"""Parameters that PyTorch's exporters stored once because they are equal: one per module again."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.torch_origin import MADE_UP, is_from_torch, scopes
from lsuv_cli.graph.views import View
from lsuv_cli.passes.pipeline import Pass

# The parameters of nn.MultiheadAttention that it splits where queries and keys have two sources.
PACKED = ("in_proj_weight", "in_proj_bias")


def separate_modules(graph: EditableGraph) -> None:
    """Give modules that share a stored parameter, without being tied, one each.

    A module that is called several times has the same path each time and keeps one parameter. An
    embedding is shared on purpose. Where the file has the exported program's signature,
    `torch_tensors` does this with certainty.
    """
    if graph.keeps_ties or graph.ties_are_known or not is_from_torch(graph.model):
        return
    _separate_packed(graph)
    if graph.signature is None:
        _separate_by_path(graph)


def _separate_by_path(graph: EditableGraph) -> None:
    """Give each module the parameters that nodes with its path read."""
    nodes = graph.nodes
    embeddings = {node.input[0] for node in nodes if node.op_type == "Gather"}
    paths = {_path(node) for node in nodes} - {""}
    owners: dict[str, str] = {}
    for node in nodes:
        path = _path(node)
        if not operator_of(node).owns_parameters or not path:
            continue
        for position, name in enumerate(node.input):
            if name not in graph.stored or name in embeddings:
                continue
            if node.op_type == "Add" and not name.endswith("bias"):
                continue
            if MADE_UP.fullmatch(name):
                own = owners.setdefault(name, path)
                new = f"/{path}/{name}"
            else:
                own = _owner(name, paths)
                new = path + name.removeprefix(own)
            # A module may pass its own parameter to one inside it.
            inside = path.startswith(f"{own}.")
            if own not in ("", path) and not inside and new not in graph.stored:
                graph.add_copy(new, name)
                graph.set_input(node, position, new)


def _separate_packed(graph: EditableGraph) -> None:
    """Give modules of attention that share a parameter which is split one each.

    The dynamo exporter writes no module to such a Split, but to what reads the parts.
    """
    paths = {_path(node) for node in graph.nodes} - {""}
    for node in graph.nodes:
        name = node.input[0] if node.op_type == "Split" else ""
        own = _owner(name, paths)
        if name not in graph.stored or not own or name.removeprefix(f"{own}.") not in PACKED:
            continue
        for path in sorted({_path(one) for part in node.output for one in graph.readers(part)}):
            if path not in ("", own):
                new = path + name.removeprefix(own)
                if new not in graph.parameters:
                    graph.add_copy(new, name)
                    _split_for(path, new, node, graph)
                    if graph.signature is not None and new in graph.signature.tensors:
                        graph.module_tensors.setdefault(new, View(new))


def _split_for(path: str, parameter: str, node: onnx.NodeProto, graph: EditableGraph) -> None:
    """Have the nodes of a module read the parts of a parameter of its own.

    Args:
        path: the module's path.
        parameter: its parameter.
        node: the Split of another module's parameter; it stays as it is.
        graph: modified.
    """
    own = onnx.NodeProto()
    own.CopyFrom(node)
    own.name = f"/{path}/{node.name}"
    own.input[0] = parameter
    for index, part in enumerate(node.output):
        own.output[index] = graph.new_name(f"/{path}/{part}")
        for reader in graph.readers(part):
            for position, value in enumerate(reader.input):
                if value == part and _path(reader) == path:
                    graph.set_input(reader, position, own.output[index])
    graph.replace(node, [node, own])


def _path(node: onnx.NodeProto) -> str:
    """Return the path of the module that a node comes from; "" where nothing tells."""
    return next(iter(scopes(node)[-2:-1]), "")


def _owner(name: str, paths: Collection[str]) -> str:
    """Return the innermost module that has a parameter of this name; "" if none has."""
    module = name.rpartition(".")[0]
    while module and module not in paths:
        module = module.rpartition(".")[0]
    return module


PASS = Pass("torch_sharing", separate_modules, requires=("torch_tensors",), separates=True)
