"""Which nodes of a graph are layers: linear in a constant weight."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper

from lsuv_cli.core.layout import Order, TensorInfo, WeightLayout
from lsuv_cli.core.records import Layer
from lsuv_cli.model.onnx_file import DEFAULT_DOMAINS, OnnxModel
from lsuv_cli.model.topology import bodies, node_name, values_read


@dataclass(frozen=True, slots=True)
class LayerSite:
    """A layer, and where it sits in its graph.

    Attributes:
        layer: what the rest of the program needs to know of it.
        node: the linear node.
        data: the value that the weight is applied to.
        channel_axis: the output's channel axis, counted from the end.
        addend: what the node itself adds to the product: its bias or a foreign value; "" if none.
        addend_factor: what the addend is multiplied by (Gemm's beta).
        bias_node: the Add that follows the node and adds its bias; None where the node does.
        foreign_use: the name of a node that uses the weight for something else; "" if none.
        takes_data: whether what flows into the layer depends on the model's inputs.
    """

    layer: Layer
    node: onnx.NodeProto
    data: str
    channel_axis: int
    addend: str
    addend_factor: float
    bias_node: onnx.NodeProto | None
    foreign_use: str
    takes_data: bool


@dataclass(frozen=True, slots=True)
class _Product:
    """What a node's operator and attributes say: weight's place, layout, and the addend."""

    data: str
    weight: str
    layout: WeightLayout
    channel_axis: int
    addend: str = ""
    addend_factor: float = 1.0


Weights = Mapping[str, TensorInfo]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _convolution(node: onnx.NodeProto, weights: Weights) -> _Product | None:
    data, weight = node.input[0], node.input[1]
    if weight not in weights or len(weights[weight].shape) < 3:
        return None
    shape = weights[weight].shape
    order = Order.CONV if node.op_type == "Conv" else Order.CONV_TRANSPOSE
    layout = WeightLayout(shape, order, attributes(node).get("group", 1))
    addend = node.input[2] if len(node.input) > 2 else ""
    return _Product(data, weight, layout, 1 - len(shape), addend)


def _gemm(node: onnx.NodeProto, weights: Weights) -> _Product | None:
    found = attributes(node)
    left, right = node.input[0], node.input[1]
    addend = node.input[2] if len(node.input) > 2 else ""
    factor = float(found.get("beta", 1.0))
    if factor == 0:
        addend = ""
    if right in weights and left not in weights:
        order = Order.OUT_IN if found.get("transB", 0) else Order.IN_OUT
        layout = WeightLayout(weights[right].shape, order)
        return _Product(left, right, layout, -1, addend, factor)
    if left in weights and right not in weights:
        order = Order.IN_OUT if found.get("transA", 0) else Order.OUT_IN
        layout = WeightLayout(weights[left].shape, order)
        return _Product(right, left, layout, -2, addend, factor)
    return None


def _matmul(node: onnx.NodeProto, weights: Weights) -> _Product | None:
    left, right = node.input[0], node.input[1]
    if right in weights and left not in weights and len(weights[right].shape) >= 2:
        return _Product(left, right, WeightLayout(weights[right].shape, Order.IN_OUT), -1)
    if left in weights and right not in weights and len(weights[left].shape) >= 2:
        return _Product(right, left, WeightLayout(weights[left].shape, Order.OUT_IN), -2)
    return None


_PRODUCTS: dict[str, Callable[[onnx.NodeProto, Weights], _Product | None]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


def find_layers(model: OnnxModel) -> list[LayerSite]:
    """The layers of a model's main graph, in execution order."""
    nodes = model.nodes
    consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in nodes:
        for name in sorted(values_read(node)):
            consumers[name].append(node)
    data_values = _data_values(model)
    products = [
        (node, product)
        for node in nodes
        if node.domain in DEFAULT_DOMAINS
        and node.op_type in _PRODUCTS
        and (product := _PRODUCTS[node.op_type](node, model.weights)) is not None
        and math.prod(product.layout.shape) != 0
    ]
    weight_uses = Counter(product.weight for _, product in products)
    addend_uses = Counter(product.addend for _, product in products)
    sites = []
    for node, product in products:
        bias, bias_node = "", None
        if not product.addend:
            bias, bias_node = _bias_behind(node, product, model, consumers)
        elif addend_uses[product.addend] == _uses(product.addend, consumers) and _is_bias(
            product.addend, product, model.weights
        ):
            bias = product.addend
        foreign = ""
        if _uses(product.weight, consumers) != weight_uses[product.weight]:
            layer_nodes = [n for n, p in products if p.weight == product.weight]
            foreign = next(node_name(n) for n in consumers[product.weight] if n not in layer_nodes)
        bias_shape = model.weights[bias].shape if bias else ()
        layer = Layer(
            name=node_name(node),
            op=node.op_type,
            weight=product.weight,
            bias=bias or None,
            bias_shape=bias_shape,
            layout=product.layout,
            output=bias_node.output[0] if bias_node is not None else node.output[0],
            parameters=math.prod(product.layout.shape) + (math.prod(bias_shape) if bias else 0),
        )
        sites.append(
            LayerSite(
                layer=layer,
                node=node,
                data=product.data,
                channel_axis=product.channel_axis,
                addend=product.addend,
                addend_factor=product.addend_factor,
                bias_node=bias_node,
                foreign_use=foreign,
                takes_data=product.data in data_values,
            )
        )
    return sites


def _bias_behind(
    node: onnx.NodeProto,
    product: _Product,
    model: OnnxModel,
    consumers: Mapping[str, Sequence[onnx.NodeProto]],
) -> tuple[str, onnx.NodeProto | None]:
    """The bias that a following Add adds, and that Add; ("", None) without one."""
    following = consumers[node.output[0]]
    if len(following) == 1 and node.output[0] not in {v.name for v in model.skeleton.graph.output}:
        other = _added_constant(following[0], node.output[0], model.weights)
        if other and _uses(other, consumers) == 1 and _is_bias(other, product, model.weights):
            return other, following[0]
    return "", None


def nested_layers(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    """Names of layer-like nodes inside the bodies of If, Loop and Scan, which are left alone."""
    names = []
    for node in nodes:
        for body in bodies(node):
            names += [node_name(n) for n in body.node if n.op_type in _PRODUCTS]
            names += nested_layers(body.node)
    return names


def _uses(name: str, consumers: Mapping[str, Sequence[onnx.NodeProto]]) -> int:
    """How often a value is read; by a body inside a node counts as once."""
    return sum(max(1, list(node.input).count(name)) for node in consumers[name])


def _data_values(model: OnnxModel) -> set[str]:
    """The values that depend on what is fed."""
    values = {spec.name for spec in model.inputs}
    for node in model.nodes:
        if values.intersection(values_read(node)):
            values.update(node.output)
    return values


def _added_constant(node: onnx.NodeProto, product: str, weights: Weights) -> str:
    """The constant that an Add adds to a product; "" where the node is something else."""
    if node.op_type != "Add":
        return ""
    other = node.input[1] if node.input[0] == product else node.input[0]
    return other if other in weights else ""


def _is_bias(name: str, product: _Product, weights: Weights) -> bool:
    """Whether a value is a constant that holds one number for each output channel, or one in all.

    A value that varies along any other axis (a positional embedding, say) is no bias.
    """
    if name not in weights:
        return False
    # Conv's own bias is a vector along the channels, though it stands on no axis of the output.
    if product.layout.is_convolution and name == product.addend:
        return True
    shape = weights[name].shape
    position = len(shape) + product.channel_axis
    return all(
        size == 1 or (axis == position and size == product.layout.out_channels)
        for axis, size in enumerate(shape)
    )
