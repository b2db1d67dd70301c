"""ONNX Runtime's fused operators taken apart, so that their layers can be measured.

A file that ONNX Runtime saved after optimising may hold a layer and its activation as one node; the
layer's own output, which LSUV is about, then appears nowhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lsuv_cli.model.nodes import attributes, node_name

DOMAIN = "com.microsoft"


def unfuse(node: onnx.NodeProto, matrices: Collection[str]) -> list[onnx.NodeProto]:
    """The nodes of ONNX's own domain that a fused node stands for; the node itself, if it is none.

    Args:
        node: any node.
        matrices: names of parameters with two axes.
    """
    if node.domain != DOMAIN:
        return [node]
    found = attributes(node)
    if node.op_type == "FusedConv":
        return _convolution(node, found)
    if node.op_type == "FusedGemm":
        return _gemm(node, found)
    if (
        node.op_type == "FusedMatMul"
        and node.input[1] in matrices
        and not any(found.get(name, 0) for name in ("transA", "transBatchA", "transBatchB"))
    ):
        return _matmul(node, found)
    return [node]


def _convolution(node: onnx.NodeProto, found: Mapping[str, Any]) -> list[onnx.NodeProto]:
    name, product = node_name(node), f"{node.output[0]}/product"
    kept = {k: v for k, v in found.items() if not k.startswith("activation")}
    nodes = [helper.make_node("Conv", node.input[:3], [product], name=name, **kept)]
    if len(node.input) > 3 and node.input[3]:
        total = f"{node.output[0]}/sum"
        nodes.append(helper.make_node("Add", [product, node.input[3]], [total]))
        product = total
    parameters = list(found.get("activation_params", ()))
    return [*nodes, *_activation(node, product, found.get("activation", b""), parameters)]


def _gemm(node: onnx.NodeProto, found: Mapping[str, Any]) -> list[onnx.NodeProto]:
    product = f"{node.output[0]}/product"
    kept = {k: v for k, v in found.items() if not k.startswith("activation")}
    parameters = [
        found[k] for k in ("activation_alpha", "activation_beta", "activation_gamma") if k in found
    ]
    gemm = helper.make_node("Gemm", node.input, [product], name=node_name(node), **kept)
    return [gemm, *_activation(node, product, found.get("activation", b""), parameters)]


def _matmul(node: onnx.NodeProto, found: Mapping[str, Any]) -> list[onnx.NodeProto]:
    nodes = []
    output, weight, alpha = node.output[0], node.input[1], found.get("alpha", 1.0)
    if found.get("transB", 0):
        weight = f"{output}/transposed"
        nodes.append(helper.make_node("Transpose", [node.input[1]], [weight], perm=[1, 0]))
    product = output if alpha == 1.0 else f"{output}/product"
    inputs = [node.input[0], weight]
    nodes.append(helper.make_node("MatMul", inputs, [product], name=node_name(node)))
    if alpha != 1.0:
        nodes += _constant(f"{output}/alpha", alpha)
        nodes.append(helper.make_node("Mul", [product, f"{output}/alpha"], [output]))
    return nodes


def _activation(
    node: onnx.NodeProto, value: str, name: bytes, parameters: list[float]
) -> list[onnx.NodeProto]:
    operator, output = name.decode(), list(node.output[:1])
    if operator == "Clip":
        limits = [f"{output[0]}/low", f"{output[0]}/high"]
        nodes = [n for limit in zip(limits, parameters, strict=False) for n in _constant(*limit)]
        return [*nodes, helper.make_node("Clip", [value, *limits[: len(parameters)]], output)]
    named: dict[str, Any] = dict(zip(("alpha", "beta", "gamma"), parameters, strict=False))
    return [helper.make_node(operator or "Identity", [value], output, **named)]


def _constant(name: str, number: float) -> list[onnx.NodeProto]:
    value = numpy_helper.from_array(np.asarray(number, np.float32))
    return [helper.make_node("Constant", [], [name], value=value)]
