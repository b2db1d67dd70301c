"""Nodes that look like layers but are left as they are."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, bodies, node_name
from lsuv_cli.graph.operators import LAYER_LIKE, LEFT_ALONE, PRODUCT_OPERATORS
from lsuv_cli.layers.products import Weights
from lsuv_cli.reading.model import OnnxModel


def layers_left_alone(model: OnnxModel) -> list[str]:
    """What else looks like a layer but is left as it is, each as `name (operator)`."""
    found = [
        f"{node_name(node)} ({node.op_type})"
        for node in model.nodes
        if (
            node.op_type in LEFT_ALONE
            or (node.op_type in PRODUCT_OPERATORS and node.domain not in DEFAULT_DOMAINS)
        )
        and any(_is_matrix(name, model.weight_values) for name in node.input[:3])
    ]
    return found + _nested(model.nodes)


def _is_matrix(name: str, weights: Weights) -> bool:
    return name in weights and len(weights[name].shape) > 1


def _nested(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """Layer-like nodes inside the bodies of If, Loop and Scan."""
    names = []
    for node in nodes:
        for body in bodies(node):
            names += [
                f"{node_name(n)} ({n.op_type} inside {node.op_type})"
                for n in body.node
                if n.op_type in LAYER_LIKE
            ]
            names += _nested(body.node)
    return names
