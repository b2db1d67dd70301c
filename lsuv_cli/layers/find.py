"""The layers of a graph: the nodes that multiply an activation by a weight."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from lsuv_cli.core.choices import Status
from lsuv_cli.core.planning import Reason
from lsuv_cli.core.records import Layer, ScaledPart
from lsuv_cli.graph.computed_weight import ComputedWeight
from lsuv_cli.graph.nodes import node_name
from lsuv_cli.layers.bias_search import LayerBias, find_biases
from lsuv_cli.layers.data_dependent_sizes import values_of_data_dependent_size
from lsuv_cli.layers.data_values import values_without_data
from lsuv_cli.layers.fixed import is_fixed, why_fixed
from lsuv_cli.layers.layer_node import NO_DATA, LayerNode
from lsuv_cli.layers.parameter_uses import ParameterUses
from lsuv_cli.layers.products import LayerProduct, find_products
from lsuv_cli.layers.recurrent import recurrent_layer_node
from lsuv_cli.reading.model import OnnxModel


def find_layers(model: OnnxModel) -> list[LayerNode]:
    """Return the layers of a model's main graph, in execution order."""
    uses = ParameterUses(model)
    without_data = values_without_data(model)
    data_dependent = values_of_data_dependent_size(model)
    products = find_products(model)
    made = _made(products)
    biases = find_biases([(one.node, one.product) for one in products], uses)
    layer_nodes = [
        replace(
            _layer_node(one, biases.get(one.node.output[0]), made, uses, without_data),
            has_data_dependent_size=one.node.output[0] in data_dependent,
        )
        for one in products
    ]
    layer_nodes += [
        recurrent_layer_node(matrix, uses, model.activations - without_data)
        for matrix in model.recurrent_matrices
    ]
    order = {name: index for index, n in enumerate(model.nodes) for name in n.output if name}
    return sorted(
        layer_nodes, key=lambda layer_node: order[next(filter(None, layer_node.node.output))]
    )


def _layer_node(
    found: LayerProduct,
    bias: LayerBias | None,
    made: Mapping[frozenset[str], set[str]],
    uses: ParameterUses,
    without_data: Collection[str],
) -> LayerNode:
    node, product = found.node, found.product
    return LayerNode(
        layer=_layer(found, bias, made, uses),
        node=node,
        product_inputs=(*node.input[:2], *product.other_inputs),
        data=product.data,
        channel_axis=product.channel_axis,
        addend=product.addend,
        addend_factor=product.addend_factor,
        bias_node=None if bias is None else bias.node,
        unusable=NO_DATA if product.data in without_data else _unusable(found, uses.model),
    )


def _unusable(found: LayerProduct, model: OnnxModel) -> Reason | None:
    """Return why a layer's weight can't be initialised; None where it can."""
    parameters = (found.product.weight,) if found.computed is None else found.computed.parameters
    return why_fixed(model, parameters) or _unscalable(found.computed)


def _unscalable(computed: ComputedWeight | None) -> Reason | None:
    """Return the reason why no scale can be put into a computed weight; None where one can."""
    if computed is None or computed.scaled:
        return None
    operators = ", ".join(computed.operators)
    return f"no parameter scales its weight (computed by {operators})", Status.UNSCALABLE


def _layer(
    found: LayerProduct,
    bias: LayerBias | None,
    made: Mapping[frozenset[str], set[str]],
    uses: ParameterUses,
) -> Layer:
    """Return the record of a layer.

    Args:
        found: the linear node, and what it multiplies.
        bias: the layer's bias.
        made: see `_made`.
        uses: the uses of the model's parameters.
    """
    model, node, product, computed = uses.model, found.node, found.product, found.computed
    parts = computed.scaled if computed is not None else ()
    shown = {product.weight, *parts}
    bias_shape = model.weight_values[bias.value].shape if bias else ()
    weight_name = uses.parameter_name(product.weight)
    return Layer(
        name=node_name(node),
        node=node_name(node),
        op=node.op_type,
        weight_value=product.weight,
        weight_name=weight_name,
        original_weight_name=weight_name,
        tied_values=frozenset(n for one in shown for n in uses.overlapping(one)) - {product.weight},
        bias_value=bias.value if bias else None,
        bias_name=uses.parameter_name(bias.value) if bias else None,
        bias_shape=bias_shape,
        bias_values=frozenset(uses.overlapping(bias.value) if bias else ()),
        has_fixed_bias=is_fixed(model, bias.value if bias else None),
        foreign_addend=bool(product.addend) and bias is None,
        foreign_use=_foreign_use(found, made, uses),
        dtype=model.parameters[model.view(product.weight).parameter].dtype,
        layout=product.layout,
        output=bias.node.output[0] if bias and bias.node is not None else node.output[0],
        parameter_count=math.prod(product.layout.shape) + (math.prod(bias_shape) if bias else 0),
        computed_weight=computed.value if computed is not None else "",
        scaled_parts=tuple(ScaledPart(part, uses.parameter_name(part)) for part in parts),
        is_drawn=computed is None or bool(computed.matrix and computed.scaled),
        computed_bias=() if bias else model.computed_biases.get(node.output[0], ()),
    )


def _foreign_use(
    found: LayerProduct, made: Mapping[frozenset[str], set[str]], uses: ParameterUses
) -> str:
    """Return the name of a node that reads what a layer scales, and is no layer; "" if none."""
    own = made[_scaled(found)]
    scaled = _scaled(found) or {found.product.weight}
    readers = (node for value in sorted(scaled) for node in uses.readers(value))
    foreign = next((node for node in readers if own.isdisjoint(node.output)), None)
    return "" if foreign is None else node_name(foreign)


def _scaled(product: LayerProduct) -> frozenset[str]:
    """Return the parameters of a computed weight that are scaled; none for any other weight."""
    return frozenset() if product.computed is None else frozenset(product.computed.scaled)


def _made(products: Sequence[LayerProduct]) -> Mapping[frozenset[str], set[str]]:
    """Return what the nodes of layers make, and those that compute weights, by what is scaled."""
    made: dict[frozenset[str], set[str]] = defaultdict(set)
    for one in products:
        made[_scaled(one)].add(one.node.output[0])
        if one.computed is not None:
            made[_scaled(one)] |= one.computed.makes
    return made
