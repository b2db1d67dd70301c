"""ONNX Runtime's fused operators taken apart, so that their layers can be measured.

A file that ONNX Runtime saved after optimising may hold a layer and its activation as one node; the
layer's own output, which LSUV is about, then appears nowhere. Or its bias is added by the node that
follows, where nothing would know it for the layer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lsuv_cli.graph.nodes import MICROSOFT_DOMAIN, NewNames, attributes, node_name
from lsuv_cli.passes.fused_attention import AttentionMasks, attention_apart, is_taken_apart

Shape = tuple[int, ...]

# Fused operators that add a bias to their first input: which of their inputs it is, and the
# operator that does the rest. ONNX has Gelu from opset 20 on only, ONNX Runtime in every file.
BIASED_ACTIVATIONS = {"BiasGelu": (1, "Gelu"), "FastGelu": (1, "FastGelu")}
BIASED_NORMS = {"SkipLayerNormalization": 4, "SkipSimplifiedLayerNormalization": 3}
# MultiHeadAttention's inputs: queries, keys, values, and then the bias of all three.
PROJECTIONS = 3
PRODUCTS = frozenset(("FusedMatMul", "Gemm", "MatMul"))


def unfuse(
    model: onnx.ModelProto, shapes: Mapping[str, Shape], names: NewNames
) -> list[onnx.NodeProto]:
    """The main graph's nodes, the fused ones replaced by what they stand for.

    Args:
        model: the model, perhaps without its floating-point initializers; not modified.
        shapes: of the parameters, by name.
        names: gives the new values their names.
    """
    products = {
        node.output[0]: shapes.get(node.input[1], ())
        for node in model.graph.node
        if node.op_type in PRODUCTS and any(name in shapes for name in node.input)
    }
    fusion = _Fusion(shapes, products, AttentionMasks(model), names)
    return [one for node in model.graph.node for one in _apart(node, fusion)]


@dataclass(frozen=True, slots=True)
class _Fusion:
    """What must be known of a graph to take its nodes apart.

    Attributes:
        shapes: of the parameters, by name.
        products: the values that products with a parameter make, and the shape of that parameter
            where it is their second factor.
        masks: what the graph says of attention's masks.
        names: gives the new values their names.
    """

    shapes: Mapping[str, Shape]
    products: Mapping[str, Shape]
    masks: AttentionMasks
    names: NewNames


def _apart(node: onnx.NodeProto, fusion: _Fusion) -> list[onnx.NodeProto]:
    """The nodes that a fused node stands for; the node itself, if it is none."""
    rule = _RULES.get(node.op_type)
    if rule is None or node.domain != MICROSOFT_DOMAIN:
        return [node]
    return rule(node, attributes(node), fusion)


def _convolution(
    node: onnx.NodeProto, found: Mapping[str, Any], fusion: _Fusion
) -> list[onnx.NodeProto]:
    name, product = node_name(node), fusion.names.new(f"{node.output[0]}/product")
    kept = {k: v for k, v in found.items() if not k.startswith("activation")}
    nodes = [helper.make_node("Conv", node.input[:3], [product], name=name, **kept)]
    if len(node.input) > 3 and node.input[3]:
        total = fusion.names.new(f"{node.output[0]}/sum")
        nodes.append(helper.make_node("Add", [product, node.input[3]], [total]))
        product = total
    parameters = list(found.get("activation_params", ()))
    activation = found.get("activation", b"")
    return [*nodes, *_activation(node, product, activation, parameters, fusion)]


def _gemm(node: onnx.NodeProto, found: Mapping[str, Any], fusion: _Fusion) -> list[onnx.NodeProto]:
    product = fusion.names.new(f"{node.output[0]}/product")
    kept = {k: v for k, v in found.items() if not k.startswith("activation")}
    parameters = [
        found[k] for k in ("activation_alpha", "activation_beta", "activation_gamma") if k in found
    ]
    gemm = helper.make_node("Gemm", node.input, [product], name=node_name(node), **kept)
    return [gemm, *_activation(node, product, found.get("activation", b""), parameters, fusion)]


def _matmul(
    node: onnx.NodeProto, found: Mapping[str, Any], fusion: _Fusion
) -> list[onnx.NodeProto]:
    if len(fusion.shapes.get(node.input[1], ())) != 2 or any(
        found.get(name, 0) for name in ("transA", "transBatchA", "transBatchB")
    ):
        return [node]
    nodes = []
    output, weight, alpha = node.output[0], node.input[1], found.get("alpha", 1.0)
    if found.get("transB", 0):
        weight = fusion.names.new(f"{output}/transposed")
        nodes.append(helper.make_node("Transpose", [node.input[1]], [weight], perm=[1, 0]))
    product = output if alpha == 1.0 else fusion.names.new(f"{output}/product")
    inputs = [node.input[0], weight]
    nodes.append(helper.make_node("MatMul", inputs, [product], name=node_name(node)))
    if alpha != 1.0:
        factor = fusion.names.new(f"{output}/alpha")
        nodes.append(_constant(factor, alpha))
        nodes.append(helper.make_node("Mul", [product, factor], [output]))
    return nodes


def _activation(
    node: onnx.NodeProto, value: str, name: bytes, parameters: list[float], fusion: _Fusion
) -> list[onnx.NodeProto]:
    operator, output = name.decode(), list(node.output[:1])
    if operator == "Clip":
        limits = [fusion.names.new(f"{output[0]}/{limit}") for limit in ("low", "high")]
        limits = limits[: len(parameters)]
        nodes = [_constant(*limit) for limit in zip(limits, parameters, strict=False)]
        return [*nodes, helper.make_node("Clip", [value, *limits], output)]
    named: dict[str, Any] = dict(zip(("alpha", "beta", "gamma"), parameters, strict=False))
    return [helper.make_node(operator or "Identity", [value], output, **named)]


def _constant(name: str, number: float) -> onnx.NodeProto:
    value = numpy_helper.from_array(np.asarray(number, np.float32))
    return helper.make_node("Constant", [], [name], value=value)


def _biased_activation(
    node: onnx.NodeProto, _found: Mapping[str, Any], fusion: _Fusion
) -> list[onnx.NodeProto]:
    position, operator = BIASED_ACTIVATIONS[node.op_type]
    if len(node.input) <= position or not node.input[position]:
        return [node]
    total, domain = fusion.names.new(f"{node.output[0]}/sum"), MICROSOFT_DOMAIN
    return [
        helper.make_node("Add", [node.input[0], node.input[position]], [total]),
        helper.make_node(operator, [total], node.output, name=node.name, domain=domain),
    ]


def _biased_norm(
    node: onnx.NodeProto, _found: Mapping[str, Any], fusion: _Fusion
) -> list[onnx.NodeProto]:
    """An Add in front: so the sum of inputs and bias, the last output, stays what it is."""
    position = BIASED_NORMS[node.op_type]
    if len(node.input) <= position or not node.input[position]:
        return [node]
    made = [name in fusion.products for name in node.input[:2]]
    branch = 1 if made == [False, True] else 0
    total = fusion.names.new(f"{node.output[0]}/sum")
    norm = onnx.NodeProto()
    norm.CopyFrom(node)
    norm.input[branch], norm.input[position] = total, ""
    return [helper.make_node("Add", [node.input[branch], node.input[position]], [total]), norm]


def _product_and_gelu(
    node: onnx.NodeProto, _found: Mapping[str, Any], fusion: _Fusion
) -> list[onnx.NodeProto]:
    value = fusion.names.new(f"{node.output[0]}/product")
    nodes = [helper.make_node("MatMul", node.input[:2], [value], name=node_name(node))]
    if len(node.input) > 2 and node.input[2]:
        total = fusion.names.new(f"{node.output[0]}/sum")
        nodes.append(helper.make_node("Add", [value, node.input[2]], [total]))
        value = total
    return [*nodes, helper.make_node("FastGelu", [value], node.output, domain=MICROSOFT_DOMAIN)]


def _attention(
    node: onnx.NodeProto, _found: Mapping[str, Any], fusion: _Fusion
) -> list[onnx.NodeProto]:
    if not is_taken_apart(node, fusion.shapes, fusion.masks):
        return [node]
    return attention_apart(node, fusion.shapes, fusion.names)


def _biased_attention(
    node: onnx.NodeProto, _found: Mapping[str, Any], fusion: _Fusion
) -> list[onnx.NodeProto]:
    """The biases of the three projections, which lie in one parameter, added in front."""
    bias = node.input[PROJECTIONS] if len(node.input) > PROJECTIONS else ""
    widths = [fusion.products.get(name, ())[-1:] for name in node.input[:PROJECTIONS]]
    if fusion.shapes.get(bias) != (sum(sum(width) for width in widths),) or () in widths:
        return [node]
    sizes = fusion.names.new(f"{node.output[0]}/sizes")
    lengths = numpy_helper.from_array(np.array([width[0] for width in widths], np.int64))
    parts = [fusion.names.new(f"{node.output[0]}/bias") for _ in widths]
    nodes = [
        helper.make_node("Constant", [], [sizes], value=lengths),
        helper.make_node("Split", [bias, sizes], parts, axis=0),
    ]
    attending = onnx.NodeProto()
    attending.CopyFrom(node)
    attending.input[PROJECTIONS] = ""
    for position, part in enumerate(parts):
        total = fusion.names.new(f"{node.output[0]}/sum")
        nodes.append(helper.make_node("Add", [node.input[position], part], [total]))
        attending.input[position] = total
    return [*nodes, attending]


_RULES: dict[str, Callable[[onnx.NodeProto, Mapping[str, Any], _Fusion], list[onnx.NodeProto]]] = {
    "Attention": _attention,
    "FusedConv": _convolution,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "GemmFastGelu": _product_and_gelu,
    "MultiHeadAttention": _biased_attention,
    **dict.fromkeys(BIASED_ACTIVATIONS, _biased_activation),
    **dict.fromkeys(BIASED_NORMS, _biased_norm),
}
