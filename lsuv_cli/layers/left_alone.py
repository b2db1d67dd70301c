"""Nodes that look like layers but are not initialised."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from lsuv_cli.graph.nodes import bodies, node_name
from lsuv_cli.graph.operators.products import WeightInfos
from lsuv_cli.graph.operators.table import names_of, operator_of
from lsuv_cli.reading.model import OnnxModel


def layers_left_alone(model: OnnxModel) -> list[str]:
    """Return the nodes that look like layers but are not initialised, as `name (operator)`."""
    layer_like = names_of(lambda operator: operator.looks_like_a_layer)
    found = [
        f"{node_name(node)} ({node.op_type})"
        for node in model.nodes
        if node.op_type in layer_like
        and operator_of(node).product is None
        and any(_is_matrix(name, model.weight_values) for name in node.input[:3])
    ]
    return found + _nested(model.nodes, layer_like)


def _is_matrix(name: str, weights: WeightInfos) -> bool:
    return name in weights and len(weights[name].shape) > 1


def _nested(nodes: Sequence[onnx.NodeProto], layer_like: frozenset[str]) -> list[str]:
    """Return the nodes inside the bodies of If, Loop and Scan that look like layers."""
    names = []
    for node in nodes:
        for body in bodies(node):
            names += [
                f"{node_name(n)} ({n.op_type} inside {node.op_type})"
                for n in body.node
                if n.op_type in layer_like
            ]
            names += _nested(body.node, layer_like)
    return names
