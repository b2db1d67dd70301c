"""Parameters that PyTorch's exporters stored once, being equal, or twice, being tied."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.parameters import ParameterSources
from lsuv_cli.graph.torch_origin import MADE_UP, is_uniform, module_path, scopes


def separate_modules(
    nodes: Iterable[onnx.NodeProto], parameters: Collection[str]
) -> dict[str, str]:
    """Give modules that share a stored parameter, without being tied, one each.

    A module that is called several times has the same path each time and keeps one parameter. An
    embedding is shared on purpose.

    Args:
        nodes: modified: they read the new names.
        parameters: the stored parameters' names.

    Returns:
        For each new name the parameter it is a copy of.
    """
    nodes = list(nodes)
    embeddings = {node.input[0] for node in nodes if node.op_type == "Gather"}
    paths = {_path(node) for node in nodes} - {""}
    owners: dict[str, str] = {}
    copies: dict[str, str] = {}
    for node in nodes:
        path = _path(node)
        if not operator_of(node).owns_parameters or not path:
            continue
        for position, name in enumerate(node.input):
            if name not in parameters or name in embeddings:
                continue
            if node.op_type == "Add" and not name.endswith("bias"):
                continue
            if MADE_UP.fullmatch(name):
                own = owners.setdefault(name, path)
                new = f"/{path}/{name}"
            else:
                own = _owner(name, paths)
                new = path + name.removeprefix(own)
            if own not in ("", path) and new not in parameters:
                copies[new] = name
                node.input[position] = new
    return copies


def _path(node: onnx.NodeProto) -> str:
    """The path of the module that a node comes from; "" where nothing tells."""
    return next(iter(scopes(node)[-2:-1]), "")


def _owner(name: str, paths: Collection[str]) -> str:
    """The innermost of the modules that has a parameter of this name; "" if none has."""
    module = name.rpartition(".")[0]
    while module and module not in paths:
        module = module.rpartition(".")[0]
    return module


def transposed_embeddings(
    nodes: Iterable[onnx.NodeProto], parameters: ParameterSources
) -> dict[str, str]:
    """Parameters that are an embedding's transpose, by name.

    An exporter that folds constants stores an embedding and its transpose, the output projection it
    is tied with, as two.
    """
    nodes = list(nodes)
    embeddings = [node.input[0] for node in nodes if node.op_type == "Gather"]
    factors = {name for node in nodes if node.op_type == "MatMul" for name in node.input}
    return {
        name: source
        for source in dict.fromkeys(embeddings)
        if source in parameters
        for name in sorted(factors & parameters.keys())
        if parameters[name].info.shape == parameters[source].info.shape[::-1] != ()
        and _is_transpose(parameters[name].read(), parameters[source].read())
    }


def _is_transpose(one: FloatArray, other: FloatArray) -> bool:
    return not is_uniform(other) and np.array_equal(one, other.T)


def repeated_calls(
    nodes: Iterable[onnx.NodeProto], parameters: ParameterSources, copies: Mapping[str, str]
) -> dict[str, str]:
    """Parameters of a recurrent module that were stored once more for another of its calls.

    An exporter that folds constants orders the gates anew at each call, and calls the module of the
    second one `rnn_1`.

    Args:
        nodes: the graph's nodes.
        parameters: the stored parameters.
        copies: for parameters that are stored as a copy of another that other.

    Returns:
        For each such parameter that of the first call.
    """
    calls: dict[tuple[str, str], onnx.NodeProto] = {}
    same: dict[str, str] = {}
    for node in nodes:
        path = module_path(node.name) if operator_of(node).gates else ""
        again = re.fullmatch(r"(.+)_\d+", path)
        first = calls.get((node.op_type, again[1])) if again else None
        pairs = list(zip(node.input[1:4], first.input[1:4], strict=False)) if first else []
        stored = [[copies.get(name, name) for name in pair] for pair in pairs]
        if stored and all(_are_equal(one, other, parameters) for one, other in stored):
            same |= {one: other for one, other in pairs if one and one != other}
        elif path:
            calls.setdefault((node.op_type, path), node)
    return same


def _are_equal(one: str, other: str, parameters: ParameterSources) -> bool:
    if one == other:
        return True
    if one not in parameters or other not in parameters:
        return False
    shapes = parameters[one].info.shape, parameters[other].info.shape
    return shapes[0] == shapes[1] and np.array_equal(
        parameters[one].read(), parameters[other].read()
    )
