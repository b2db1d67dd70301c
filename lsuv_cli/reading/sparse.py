"""Sparse initializers, which are no parameters, as Constant nodes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
from onnx import helper

from lsuv_cli.graph.nodes import bodies
from lsuv_cli.graph.tensor_source import inlined


def sparse_as_constants(model: onnx.ModelProto, path: Path) -> None:
    """Replace the sparse initializers of a model's graphs by nodes.

    Args:
        model: modified.
        path: its file, beside which external data lies.

    Raises:
        ModelError: external data is missing.
    """
    _replace_in(model.graph, path)
    for function in model.functions:
        _replace_in_bodies(function.node, path)


def _replace_in(graph: onnx.GraphProto, path: Path) -> None:
    _replace_in_bodies(graph.node, path)
    if not graph.sparse_initializer:
        return
    nodes = [_constant(sparse, path) for sparse in graph.sparse_initializer]
    nodes += graph.node
    del graph.sparse_initializer[:], graph.node[:]
    graph.node.extend(nodes)


def _replace_in_bodies(nodes: Iterable[onnx.NodeProto], path: Path) -> None:
    for node in nodes:
        for body in bodies(node):
            _replace_in(body, path)


def _constant(sparse: onnx.SparseTensorProto, path: Path) -> onnx.NodeProto:
    held = onnx.SparseTensorProto(
        values=inlined(sparse.values, path), indices=inlined(sparse.indices, path), dims=sparse.dims
    )
    return helper.make_node("Constant", [], [sparse.values.name], sparse_value=held)
