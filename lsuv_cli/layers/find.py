"""Which nodes of a graph are layers: linear in a constant weight."""

from __future__ import annotations

import math
from collections import Counter

import onnx

from lsuv_cli.core.records import Layer
from lsuv_cli.graph.nodes import node_name
from lsuv_cli.graph.operators.products import Product
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.layers.bias_search import added_behind, is_bias
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.recurrent import recurrent_layer_node
from lsuv_cli.layers.uses import Uses, values_from_inputs
from lsuv_cli.reading.model import OnnxModel


def find_layers(model: OnnxModel) -> list[LayerNode]:
    """The layers of a model's main graph, in execution order."""
    uses = Uses(model)
    data_values = values_from_inputs(model)
    products = [
        (node, product)
        for node in model.nodes
        if (rule := operator_of(node).product) is not None
        and (product := rule(node, model.weight_values)) is not None
        and math.prod(product.layout.shape) != 0
    ]
    outputs = {node.output[0] for node, _ in products}  # the layers, told by what they make
    behind = {n.output[0]: added_behind(n, p, uses) for n, p in products if not p.addend}
    # What is used in any other way too is no layer's bias.
    added = Counter([p.addend for _, p in products] + [name for name, _ in behind.values()])
    layer_nodes = []
    for node, product in products:
        bias, bias_node = behind.get(node.output[0], (product.addend, None))
        if not (
            bias in model.weight_values
            and sum(added[name] for name in uses.related(bias)) == uses.count(bias)
            and is_bias(bias, product, model.weight_values)
        ):
            bias, bias_node = "", None
        layer_nodes.append(
            LayerNode(
                layer=_layer(node, product, bias, bias_node, uses, outputs),
                node=node,
                product_inputs=(*node.input[:2], *product.other_inputs),
                data=product.data,
                channel_axis=product.channel_axis,
                addend=product.addend,
                addend_factor=product.addend_factor,
                bias_node=bias_node,
                takes_data=product.data in data_values,
            )
        )
    layer_nodes += [
        recurrent_layer_node(matrix, uses, data_values) for matrix in model.recurrent_matrices
    ]
    order = {name: index for index, n in enumerate(model.nodes) for name in n.output if name}
    return sorted(
        layer_nodes, key=lambda layer_node: order[next(filter(None, layer_node.node.output))]
    )


def _layer(
    node: onnx.NodeProto,
    product: Product,
    bias: str,
    bias_node: onnx.NodeProto | None,
    uses: Uses,
    outputs: set[str],
) -> Layer:
    model = uses.model
    foreign = next((n for n in uses.readers(product.weight) if n.output[0] not in outputs), None)
    bias_shape = model.weight_values[bias].shape if bias else ()
    return Layer(
        name=node_name(node),
        op=node.op_type,
        weight_value=product.weight,
        weight_name=uses.described(product.weight),
        original_weight_name=uses.described(product.weight),
        tied_values=frozenset(uses.related(product.weight)) - {product.weight},
        bias_value=bias or None,
        bias_name=uses.described(bias) if bias else None,
        bias_shape=bias_shape,
        bias_values=frozenset(uses.related(bias) if bias else ()),
        foreign_addend=bool(product.addend) and not bias,
        foreign_use="" if foreign is None else node_name(foreign),
        dtype=model.parameters[model.view(product.weight).parameter].dtype,
        layout=product.layout,
        output=bias_node.output[0] if bias_node is not None else node.output[0],
        parameter_count=math.prod(product.layout.shape) + (math.prod(bias_shape) if bias else 0),
    )
