"""The layers of a graph: the nodes that are linear in a constant weight."""

from __future__ import annotations

import math

import onnx

from lsuv_cli.core.records import Layer
from lsuv_cli.graph.nodes import node_name
from lsuv_cli.graph.operators.products import WeightProduct
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.layers.bias_search import LayerBias, find_biases
from lsuv_cli.layers.data_values import values_from_inputs
from lsuv_cli.layers.layer_node import NO_DATA, LayerNode
from lsuv_cli.layers.parameter_uses import ParameterUses
from lsuv_cli.layers.recurrent import recurrent_layer_node
from lsuv_cli.reading.model import OnnxModel


def find_layers(model: OnnxModel) -> list[LayerNode]:
    """Return the layers of a model's main graph, in execution order."""
    uses = ParameterUses(model)
    data_values = values_from_inputs(model)
    products = _products(model)
    outputs = {node.output[0] for node, _ in products}
    biases = find_biases(products, uses)
    layer_nodes = []
    for node, product in products:
        bias = biases.get(node.output[0])
        layer_nodes.append(
            LayerNode(
                layer=_layer(node, product, bias, uses, outputs),
                node=node,
                product_inputs=(*node.input[:2], *product.other_inputs),
                data=product.data,
                channel_axis=product.channel_axis,
                addend=product.addend,
                addend_factor=product.addend_factor,
                bias_node=None if bias is None else bias.node,
                unusable=None if product.data in data_values else NO_DATA,
            )
        )
    layer_nodes += [
        recurrent_layer_node(matrix, uses, data_values) for matrix in model.recurrent_matrices
    ]
    order = {name: index for index, n in enumerate(model.nodes) for name in n.output if name}
    return sorted(
        layer_nodes, key=lambda layer_node: order[next(filter(None, layer_node.node.output))]
    )


def _products(model: OnnxModel) -> list[tuple[onnx.NodeProto, WeightProduct]]:
    """Return the nodes that multiply by a weight that is not empty, and what they multiply."""
    return [
        (node, product)
        for node in model.nodes
        if (rule := operator_of(node).product) is not None
        and (product := rule(node, model.weight_values)) is not None
        and math.prod(product.layout.shape) != 0
    ]


def _layer(
    node: onnx.NodeProto,
    product: WeightProduct,
    bias: LayerBias | None,
    uses: ParameterUses,
    outputs: set[str],
) -> Layer:
    """Return the record of a layer.

    Args:
        node: the linear node.
        product: what it multiplies.
        bias: the layer's bias.
        uses: the uses of the model's parameters.
        outputs: the values that the nodes of all layers make.
    """
    model = uses.model
    foreign = next((n for n in uses.readers(product.weight) if n.output[0] not in outputs), None)
    bias_shape = model.weight_values[bias.value].shape if bias else ()
    weight_name = uses.parameter_name(product.weight)
    return Layer(
        name=node_name(node),
        op=node.op_type,
        weight_value=product.weight,
        weight_name=weight_name,
        original_weight_name=weight_name,
        tied_values=frozenset(uses.overlapping(product.weight)) - {product.weight},
        bias_value=bias.value if bias else None,
        bias_name=uses.parameter_name(bias.value) if bias else None,
        bias_shape=bias_shape,
        bias_values=frozenset(uses.overlapping(bias.value) if bias else ()),
        foreign_addend=bool(product.addend) and bias is None,
        foreign_use="" if foreign is None else node_name(foreign),
        dtype=model.parameters[model.view(product.weight).parameter].dtype,
        layout=product.layout,
        output=bias.node.output[0] if bias and bias.node is not None else node.output[0],
        parameter_count=math.prod(product.layout.shape) + (math.prod(bias_shape) if bias else 0),
    )
