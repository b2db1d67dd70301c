"""Which nodes of a graph are layers: linear in a constant weight."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from lsuv_cli.core.layout import Order, TensorInfo, WeightLayout
from lsuv_cli.core.records import Layer
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, bodies, node_name, values_read
from lsuv_cli.graph.operators import LAYER_LIKE, LEFT_ALONE, PRODUCT_OPERATORS
from lsuv_cli.graph.views import View, overlap
from lsuv_cli.passes.recurrent import RecurrentMatrix
from lsuv_cli.reading.model import OnnxModel


@dataclass(frozen=True, slots=True)
class LayerNode:
    """A layer, and where it sits in its graph.

    Attributes:
        layer: what the rest of the program needs to know of it.
        node: the linear node.
        data: the value that the weight is applied to.
        channel_axis: the output's channel axis, counted from the end.
        addend: what the node itself adds to the product: its bias or a foreign value; "" if none.
        addend_factor: what the addend is multiplied by (Gemm's beta).
        bias_node: the Add that follows the node and adds its bias; None where the node does.
        takes_data: whether what flows into the layer depends on the model's inputs.
    """

    layer: Layer
    node: onnx.NodeProto
    data: str
    channel_axis: int
    addend: str
    addend_factor: float
    bias_node: onnx.NodeProto | None
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


class _Uses:
    """Who reads which value; of a parameter, through whatever view."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.nodes:
            for name in sorted(values_read(node)):
                self.consumers[name].append(node)
        self.names: dict[str, list[str]] = defaultdict(list)
        for name in model.weight_values:
            self.names[model.view(name).parameter].append(name)

    def related(self, name: str) -> list[str]:
        """The names under which some element of a parameter's view is read, its own included."""
        view = self.model.view(name)
        shape = self.model.parameters[view.parameter].shape
        return [
            other
            for other in self.names[view.parameter]
            if other == name or overlap(view, self.model.view(other), shape)
        ]

    def count(self, name: str) -> int:
        """How often it is read; by a body inside a node counts as once."""
        return sum(
            max(1, list(node.input).count(other))
            for other in self.related(name)
            for node in self.consumers[other]
        )

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read it."""
        return [node for other in self.related(name) for node in self.consumers[other]]


def find_layers(model: OnnxModel) -> list[LayerNode]:
    """The layers of a model's main graph, in execution order."""
    uses = _Uses(model)
    data_values = values_from_inputs(model)
    products = [
        (node, product)
        for node in model.nodes
        if node.domain in DEFAULT_DOMAINS
        and node.op_type in _PRODUCTS
        and (product := _PRODUCTS[node.op_type](node, model.weight_values)) is not None
        and math.prod(product.layout.shape) != 0
    ]
    outputs = {node.output[0] for node, _ in products}  # the layers, told by what they make
    behind = {n.output[0]: _added_behind(n, p, uses) for n, p in products if not p.addend}
    # What is used in any other way too is no layer's bias.
    added = Counter([p.addend for _, p in products] + [name for name, _ in behind.values()])
    layer_nodes = []
    for node, product in products:
        bias, bias_node = behind.get(node.output[0], (product.addend, None))
        if not (
            bias in model.weight_values
            and sum(added[name] for name in uses.related(bias)) == uses.count(bias)
            and _is_bias(bias, product, model.weight_values)
        ):
            bias, bias_node = "", None
        layer_nodes.append(
            LayerNode(
                layer=_layer(node, product, bias, bias_node, uses, outputs),
                node=node,
                data=product.data,
                channel_axis=product.channel_axis,
                addend=product.addend,
                addend_factor=product.addend_factor,
                bias_node=bias_node,
                takes_data=product.data in data_values,
            )
        )
    layer_nodes += [
        _recurrent_layer_node(matrix, uses, data_values) for matrix in model.recurrent_matrices
    ]
    order = {name: index for index, n in enumerate(model.nodes) for name in n.output if name}
    return sorted(
        layer_nodes, key=lambda layer_node: order[next(filter(None, layer_node.node.output))]
    )


def _recurrent_layer_node(matrix: RecurrentMatrix, uses: _Uses, data_values: set[str]) -> LayerNode:
    model = uses.model
    shape = model.weight_values[matrix.weight].shape
    bias_shape = model.weight_values[matrix.bias].shape if matrix.bias else ()
    node = next(node for node in model.nodes if matrix.node in node.output)
    layer = Layer(
        name=matrix.name,
        op=matrix.op,
        weight=matrix.weight,
        parameter=_described(model.view(matrix.weight)),
        tied=frozenset(uses.related(matrix.weight)) - {matrix.weight},
        bias=matrix.bias or None,
        bias_parameter=_described(model.view(matrix.bias)) if matrix.bias else None,
        bias_shape=bias_shape,
        bias_tied=frozenset(uses.related(matrix.bias) if matrix.bias else ()),
        foreign_addend=False,
        foreign_use="",
        dtype=model.parameters[model.view(matrix.weight).parameter].dtype,
        layout=WeightLayout(shape, Order.OUT_IN),
        output="",
        parameters=math.prod(shape) + (math.prod(bias_shape) if matrix.bias else 0),
        recurrent=True,
    )
    takes_data = not data_values.isdisjoint(node.output)
    return LayerNode(layer, node, "", -1, "", 1.0, None, takes_data)


def _layer(
    node: onnx.NodeProto,
    product: _Product,
    bias: str,
    bias_node: onnx.NodeProto | None,
    uses: _Uses,
    outputs: set[str],
) -> Layer:
    model = uses.model
    foreign = next((n for n in uses.readers(product.weight) if n.output[0] not in outputs), None)
    bias_shape = model.weight_values[bias].shape if bias else ()
    return Layer(
        name=node_name(node),
        op=node.op_type,
        weight=product.weight,
        parameter=_described(model.view(product.weight)),
        tied=frozenset(uses.related(product.weight)) - {product.weight},
        bias=bias or None,
        bias_parameter=_described(model.view(bias)) if bias else None,
        bias_shape=bias_shape,
        bias_tied=frozenset(uses.related(bias) if bias else ()),
        foreign_addend=bool(product.addend) and not bias,
        foreign_use="" if foreign is None else node_name(foreign),
        dtype=model.parameters[model.view(product.weight).parameter].dtype,
        layout=product.layout,
        output=bias_node.output[0] if bias_node is not None else node.output[0],
        parameters=math.prod(product.layout.shape) + (math.prod(bias_shape) if bias else 0),
    )


def _described(view: View) -> str:
    """The parameter's name, and which part of it where it is not the whole."""
    return view.parameter + view.part


def _added_behind(
    node: onnx.NodeProto, product: _Product, uses: _Uses
) -> tuple[str, onnx.NodeProto | None]:
    """The constant that a following Add adds, and that Add; ("", None) without one."""
    model = uses.model
    following = uses.consumers[node.output[0]]
    if len(following) == 1 and node.output[0] not in {v.name for v in model.skeleton.graph.output}:
        other = _added_constant(following[0], node.output[0], model.weight_values)
        if other and _is_bias(other, product, model.weight_values):
            return other, following[0]
    return "", None


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


def values_from_inputs(model: OnnxModel) -> set[str]:
    """The values of the main graph that depend on what is fed."""
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
    # What is added to everything alike, hard-swish's 3 say, is part of the activation.
    if name != product.addend and max(shape, default=1) == 1 < product.layout.out_channels:
        return False
    position = len(shape) + product.channel_axis
    return all(
        size == 1 or (axis == position and size == product.layout.out_channels)
        for axis, size in enumerate(shape)
    )
