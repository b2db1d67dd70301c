"""Products with a weight: where the weight of a linear node is, and how it lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from lsuv_cli.core.layout import Order, TensorInfo, WeightLayout
from lsuv_cli.graph.nodes import attributes


@dataclass(frozen=True, slots=True)
class Product:
    """What a node's operator and attributes say: weight's place, layout, and the addend."""

    data: str
    weight: str
    layout: WeightLayout
    channel_axis: int
    addend: str = ""
    addend_factor: float = 1.0


Weights = Mapping[str, TensorInfo]


def _convolution(node: onnx.NodeProto, weights: Weights) -> Product | None:
    data, weight = node.input[0], node.input[1]
    if weight not in weights or len(weights[weight].shape) < 3:
        return None
    shape = weights[weight].shape
    order = Order.CONV if node.op_type == "Conv" else Order.CONV_TRANSPOSE
    layout = WeightLayout(shape, order, attributes(node).get("group", 1))
    addend = node.input[2] if len(node.input) > 2 else ""
    return Product(data, weight, layout, 1 - len(shape), addend)


def _gemm(node: onnx.NodeProto, weights: Weights) -> Product | None:
    found = attributes(node)
    left, right = node.input[0], node.input[1]
    addend = node.input[2] if len(node.input) > 2 else ""
    factor = float(found.get("beta", 1.0))
    if factor == 0:
        addend = ""
    if right in weights and left not in weights:
        order = Order.OUT_IN if found.get("transB", 0) else Order.IN_OUT
        layout = WeightLayout(weights[right].shape, order)
        return Product(left, right, layout, -1, addend, factor)
    if left in weights and right not in weights:
        order = Order.IN_OUT if found.get("transA", 0) else Order.OUT_IN
        layout = WeightLayout(weights[left].shape, order)
        return Product(right, left, layout, -2, addend, factor)
    return None


def _matmul(node: onnx.NodeProto, weights: Weights) -> Product | None:
    left, right = node.input[0], node.input[1]
    if right in weights and left not in weights and len(weights[right].shape) >= 2:
        return Product(left, right, WeightLayout(weights[right].shape, Order.IN_OUT), -1)
    if left in weights and right not in weights and len(weights[left].shape) >= 2:
        return Product(right, left, WeightLayout(weights[left].shape, Order.OUT_IN), -2)
    return None


PRODUCTS: dict[str, Callable[[onnx.NodeProto, Weights], Product | None]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
