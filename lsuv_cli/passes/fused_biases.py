"""ONNX Runtime's fused operators that add a layer's bias: the bias is added in front of them.

Inside another operator it would not be found as the layer's bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import MICROSOFT_DOMAIN
from lsuv_cli.passes.pipeline import Pass

# The position of the bias among an operator's inputs and, for activations, the operator that does
# the rest. ONNX has Gelu from opset 20 on only, ONNX Runtime in every file.
BIASED_ACTIVATIONS = {"BiasGelu": (1, "Gelu"), "FastGelu": (1, "FastGelu")}
BIASED_NORMS = {"SkipLayerNormalization": 4, "SkipSimplifiedLayerNormalization": 3}
# MultiHeadAttention's inputs: queries, keys, values, and then the bias of all three.
PROJECTIONS = 3
PRODUCTS = frozenset(("FusedMatMul", "Gemm", "MatMul"))


def separate_biases(graph: EditableGraph) -> None:
    """Replace each such operator by an Add, or three, and the operator without a bias."""
    for node in graph.nodes:
        rule = _RULES.get(node.op_type)
        if rule is not None and node.domain == MICROSOFT_DOMAIN:
            graph.replace(node, rule(node, graph))


def _activation(node: onnx.NodeProto, graph: EditableGraph) -> list[onnx.NodeProto]:
    position, operator = BIASED_ACTIVATIONS[node.op_type]
    if len(node.input) <= position or not node.input[position]:
        return [node]
    new = graph.new_nodes(node.output[0])
    total = new.node("Add", [node.input[0], node.input[position]], "sum")
    new.node(operator, [total], output=node.output[0], name=node.name, domain=MICROSOFT_DOMAIN)
    return new.nodes


def _norm(node: onnx.NodeProto, graph: EditableGraph) -> list[onnx.NodeProto]:
    """Add the bias to an input, so that the last output, the sum of all three, stays the same."""
    position = BIASED_NORMS[node.op_type]
    if len(node.input) <= position or not node.input[position]:
        return [node]
    made = [_is_product(name, graph) for name in node.input[:2]]
    branch = 1 if made == [False, True] else 0
    new = graph.new_nodes(node.output[0])
    total = new.node("Add", [node.input[branch], node.input[position]], "sum")
    norm = onnx.NodeProto()
    norm.CopyFrom(node)
    norm.input[branch], norm.input[position] = total, ""
    return [*new.nodes, norm]


def _is_product(value: str, graph: EditableGraph) -> bool:
    """Say whether a value is the product of something with a parameter."""
    node = graph.producer(value)
    return node is not None and node.op_type in PRODUCTS and any(map(graph.is_weight, node.input))


def _attention(node: onnx.NodeProto, graph: EditableGraph) -> list[onnx.NodeProto]:
    """Add the biases of the three projections, which lie in one parameter."""
    bias = node.input[PROJECTIONS] if len(node.input) > PROJECTIONS else ""
    widths = [_width(name, graph) for name in node.input[:PROJECTIONS]]
    if None in widths or graph.shape(bias) != (sum(width or 0 for width in widths),):
        return [node]
    new = graph.new_nodes(node.output[0])
    sizes = new.constant(np.array(widths, np.int64), "sizes")
    parts = new.parts(bias, sizes, ["bias"] * PROJECTIONS, axis=0)
    attending = onnx.NodeProto()
    attending.CopyFrom(node)
    attending.input[PROJECTIONS] = ""
    for position, part in enumerate(parts):
        attending.input[position] = new.node("Add", [node.input[position], part], "sum")
    return [*new.nodes, attending]


def _width(value: str, graph: EditableGraph) -> int | None:
    """Return the last axis of a product with a parameter; None where that is not known."""
    node = graph.producer(value)
    if node is None or not _is_product(value, graph):
        return None
    shape = graph.shape(node.input[1])
    return shape[-1] if shape else None


_RULES: Mapping[str, Callable[[onnx.NodeProto, EditableGraph], list[onnx.NodeProto]]] = {
    "MultiHeadAttention": _attention,
    **dict.fromkeys(BIASED_ACTIVATIONS, _activation),
    **dict.fromkeys(BIASED_NORMS, _norm),
}

PASS = Pass("fused_biases", separate_biases)
