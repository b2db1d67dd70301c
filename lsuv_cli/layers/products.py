"""Products of a model: the nodes that multiply an activation by a weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.computed_weight import ComputedWeight
from lsuv_cli.graph.operators.products import WeightInfos, WeightProduct
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.reading.model import OnnxModel


@dataclass(frozen=True, slots=True)
class LayerProduct:
    """A node that multiplies an activation, or a constant in place of one, by a weight.

    Attributes:
        node: the node.
        product: what it multiplies; its weight is the value that holds the weight's matrix.
        computed: how the weight is computed from parameters; None for a parameter or a view of one.
    """

    node: onnx.NodeProto
    product: WeightProduct
    computed: ComputedWeight | None = None


def find_products(model: OnnxModel) -> list[LayerProduct]:
    """Return the products of a model that could be layers, in execution order."""
    infos = {**_infos_of_computed(model), **model.weight_values}
    found = []
    for node in model.nodes:
        if operator_of(node).product is None or model.activations.isdisjoint(node.output):
            continue
        product = _product(node, model, infos)
        if product is not None and math.prod(product.layout.shape) != 0:
            found.append(_with_matrix(node, product, model))
    return found


def _infos_of_computed(model: OnnxModel) -> dict[str, TensorInfo]:
    """Return shape and dtype of the weights that are computed, in place of a parameter's."""
    return {
        value: TensorInfo(one.shape, model.weight_values[one.parameters[0]].dtype)
        for value, one in model.computed_weights.items()
    }


def _product(
    node: onnx.NodeProto, model: OnnxModel, infos: Mapping[str, TensorInfo]
) -> WeightProduct | None:
    """Return what a node multiplies, one of two constant factors being its data."""
    rule = operator_of(node).product
    factors = [name for name in node.input[:2] if name in infos]
    if rule is None or not factors:
        return None
    if len(factors) == 1:
        return rule(node, infos)
    weight = max(factors, key=lambda name: _likeness(name, node, model))
    others: WeightInfos = {
        name: info for name, info in infos.items() if name == weight or name not in node.input[:2]
    }
    return rule(node, others)


def _likeness(name: str, node: onnx.NodeProto, model: OnnxModel) -> tuple[bool, bool, int]:
    """Return how much one of two constant factors looks like the weight of a layer."""
    parameter = model.view(name).parameter
    return name in model.weight_values, parameter.endswith("weight"), list(node.input).index(name)


def _with_matrix(node: onnx.NodeProto, product: WeightProduct, model: OnnxModel) -> LayerProduct:
    computed = model.computed_weights.get(product.weight)
    if computed is None:
        return LayerProduct(node, product)
    holder = computed.matrix or next(iter((*computed.scaled, *computed.parameters)))
    return LayerProduct(node, replace(product, weight=holder), computed)
