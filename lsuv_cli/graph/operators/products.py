"""The products of linear operators: which input is the weight, and how it lies in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from lsuv_cli.core.layout import Order, TensorInfo, WeightLayout
from lsuv_cli.graph.nodes import attributes


@dataclass(frozen=True, slots=True)
class WeightProduct:
    """The product of data and a weight, a node's first two inputs in either order.

    Attributes:
        data: the value that is multiplied by the weight.
        weight: the value that holds the weight, a parameter or a view of one.
        layout: the weight's shape and the meaning of its axes.
        channel_axis: the output's channel axis, counted from the end.
        addend: the value that the node itself adds to the product; "" if none.
        addend_factor: the factor of the addend (Gemm's beta).
        other_inputs: the node's further inputs that the product depends on, in their places from
            the third on; "" in the place of the addend.
    """

    data: str
    weight: str
    layout: WeightLayout
    channel_axis: int
    addend: str = ""
    addend_factor: float = 1.0
    other_inputs: tuple[str, ...] = ()


# Shape and dtype of each weight value, by name: of parameters and views of them.
WeightInfos = Mapping[str, TensorInfo]

# Returns what a node multiplies; None for a node without a weight, or with one of another rank.
ProductRule = Callable[[onnx.NodeProto, WeightInfos], WeightProduct | None]


def convolution(node: onnx.NodeProto, weights: WeightInfos) -> WeightProduct | None:
    """Return the product of a Conv, whose weight is (out, in/groups, *kernel)."""
    return _convolution(node, weights, Order.CONV)


def transposed_convolution(node: onnx.NodeProto, weights: WeightInfos) -> WeightProduct | None:
    """Return the product of a ConvTranspose, whose weight is (in, out/groups, *kernel)."""
    return _convolution(node, weights, Order.CONV_TRANSPOSE)


def _convolution(node: onnx.NodeProto, weights: WeightInfos, order: Order) -> WeightProduct | None:
    data, weight = node.input[0], node.input[1]
    if weight not in weights or len(weights[weight].shape) < 3:
        return None
    shape = weights[weight].shape
    layout = WeightLayout(shape, order, attributes(node).get("group", 1))
    addend = node.input[2] if len(node.input) > 2 else ""
    return WeightProduct(data, weight, layout, 1 - len(shape), addend)


def gemm(node: onnx.NodeProto, weights: WeightInfos) -> WeightProduct | None:
    """Return the product of a Gemm, whose weight is either input, transposed or not."""
    found = attributes(node)
    left, right = node.input[0], node.input[1]
    addend = node.input[2] if len(node.input) > 2 else ""
    factor = float(found.get("beta", 1.0))
    if factor == 0:
        addend = ""
    if right in weights and left not in weights:
        order = Order.OUT_IN if found.get("transB", 0) else Order.IN_OUT
        layout = WeightLayout(weights[right].shape, order)
        return WeightProduct(left, right, layout, -1, addend, factor)
    if left in weights and right not in weights:
        order = Order.IN_OUT if found.get("transA", 0) else Order.OUT_IN
        layout = WeightLayout(weights[left].shape, order)
        return WeightProduct(right, left, layout, -2, addend, factor)
    return None


def matmul(node: onnx.NodeProto, weights: WeightInfos) -> WeightProduct | None:
    """Return the product of a MatMul.

    The weight is the second input, (*batch, in, out), or the first, (*batch, out, in).
    """
    left, right = node.input[0], node.input[1]
    if right in weights and left not in weights and len(weights[right].shape) >= 2:
        return WeightProduct(left, right, WeightLayout(weights[right].shape, Order.IN_OUT), -1)
    if left in weights and right not in weights and len(weights[left].shape) >= 2:
        return WeightProduct(right, left, WeightLayout(weights[left].shape, Order.OUT_IN), -2)
    return None
