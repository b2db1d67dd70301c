"""ONNX Runtime's fused products: the layer by itself, and what follows it as nodes of its own.

A file that ONNX Runtime saved after optimising may hold a layer and its activation as one node. The
layer's own output, whose variance LSUV sets, is then no value of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.new_nodes import NewNodes
from lsuv_cli.graph.nodes import MICROSOFT_DOMAIN, attributes, node_name
from lsuv_cli.passes.pipeline import Pass


def separate_products(graph: EditableGraph) -> None:
    """Replace each fused product by a product and the nodes behind it."""
    for node in graph.nodes:
        rule = _RULES.get(node.op_type)
        if rule is not None and node.domain == MICROSOFT_DOMAIN:
            new = graph.new_nodes(node.output[0])
            if rule(node, attributes(node), new, graph):
                graph.replace(node, new.nodes)


def _convolution(
    node: onnx.NodeProto, found: Mapping[str, Any], new: NewNodes, _graph: EditableGraph
) -> bool:
    kept = {k: v for k, v in found.items() if not k.startswith("activation")}
    value = new.node("Conv", node.input[:3], "product", name=node_name(node), **kept)
    if len(node.input) > 3 and node.input[3]:
        value = new.node("Add", [value, node.input[3]], "sum")
    parameters = list(found.get("activation_params", ()))
    _add_activation(new, node, value, found.get("activation", b""), parameters)
    return True


def _gemm(
    node: onnx.NodeProto, found: Mapping[str, Any], new: NewNodes, _graph: EditableGraph
) -> bool:
    kept = {k: v for k, v in found.items() if not k.startswith("activation")}
    parameters = [
        found[k] for k in ("activation_alpha", "activation_beta", "activation_gamma") if k in found
    ]
    value = new.node("Gemm", node.input, "product", name=node_name(node), **kept)
    _add_activation(new, node, value, found.get("activation", b""), parameters)
    return True


def _matmul(
    node: onnx.NodeProto, found: Mapping[str, Any], new: NewNodes, graph: EditableGraph
) -> bool:
    if len(graph.shape(node.input[1]) or ()) != 2 or any(
        found.get(name, 0) for name in ("transA", "transBatchA", "transBatchB")
    ):
        return False
    data, weight = node.input
    alpha, output = found.get("alpha", 1.0), node.output[0]
    if found.get("transB", 0):
        weight = new.node("Transpose", [weight], "transposed", perm=[1, 0])
    product = output if alpha == 1.0 else new.name("product")
    new.node("MatMul", [data, weight], output=product, name=node_name(node))
    if alpha != 1.0:
        factor = new.constant(np.float32(alpha), "alpha")
        new.node("Mul", [product, factor], output=output)
    return True


def _product_and_gelu(
    node: onnx.NodeProto, _found: Mapping[str, Any], new: NewNodes, _graph: EditableGraph
) -> bool:
    value = new.node("MatMul", node.input[:2], "product", name=node_name(node))
    if len(node.input) > 2 and node.input[2]:
        value = new.node("Add", [value, node.input[2]], "sum")
    new.node("FastGelu", [value], output=node.output[0], domain=MICROSOFT_DOMAIN)
    return True


def _add_activation(
    new: NewNodes, node: onnx.NodeProto, value: str, name: bytes, parameters: Sequence[float]
) -> None:
    """Append the activation that a fused node applies to its product."""
    operator, output = name.decode(), node.output[0]
    if operator == "Clip":
        limits = [
            new.constant(np.float32(limit), hint)
            for hint, limit in zip(("low", "high"), parameters, strict=False)
        ]
        new.node("Clip", [value, *limits], output=output)
        return
    named: dict[str, Any] = dict(zip(("alpha", "beta", "gamma"), parameters, strict=False))
    new.node(operator or "Identity", [value], output=output, **named)


_RULES: Mapping[
    str, Callable[[onnx.NodeProto, Mapping[str, Any], NewNodes, EditableGraph], bool]
] = {
    "FusedConv": _convolution,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "GemmFastGelu": _product_and_gelu,
}

# `fused_biases` looks for FusedMatMul by name, and for the output of the product, which is another
# value once its factor has been separated.
PASS = Pass("fused_products", separate_products, requires=("fused_biases",))
