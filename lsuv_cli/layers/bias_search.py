"""The bias of a layer: the constant that is added to its product, and the node that adds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from lsuv_cli.graph.operators.products import WeightInfos, WeightProduct
from lsuv_cli.layers.parameter_uses import ParameterUses


@dataclass(frozen=True, slots=True)
class LayerBias:
    """A layer's bias.

    Attributes:
        value: the graph value that holds it.
        node: the Add that follows the product and adds it; None where the product's node does.
    """

    value: str
    node: onnx.NodeProto | None


def find_biases(
    products: Sequence[tuple[onnx.NodeProto, WeightProduct]], uses: ParameterUses
) -> Mapping[str, LayerBias]:
    """Return the biases of products, by the value that each product's node makes.

    Args:
        products: the model's products.
        uses: the uses of its parameters.
    """
    found = {
        node.output[0]: LayerBias(product.addend, None)
        if product.addend
        else _added_behind(node, product, uses)
        for node, product in products
    }
    weights = uses.model.weight_values
    times_added = Counter(bias.value for bias in found.values())

    def is_only_added(value: str) -> bool:
        added = sum(times_added[other] for other in uses.overlapping(value))
        return added == uses.read_count(value)

    return {
        node.output[0]: bias
        for node, product in products
        if (bias := found[node.output[0]]).value in weights
        and is_only_added(bias.value)
        and _is_bias(bias.value, product, weights)
    }


def _added_behind(node: onnx.NodeProto, product: WeightProduct, uses: ParameterUses) -> LayerBias:
    """Return the constant that a following Add adds, and that Add; "" and None without one."""
    model, output = uses.model, node.output[0]
    adder = uses.graph.only_reader(output)
    if adder is not None and output not in {value.name for value in model.skeleton.graph.output}:
        other = _added_constant(adder, output, model.weight_values)
        if other and _is_bias(other, product, model.weight_values):
            return LayerBias(other, adder)
    return LayerBias("", None)


def _added_constant(node: onnx.NodeProto, product: str, weights: WeightInfos) -> str:
    """Return the constant that an Add adds to a product; "" where the node is something else."""
    if node.op_type != "Add":
        return ""
    other = node.input[1] if node.input[0] == product else node.input[0]
    return other if other in weights else ""


def _is_bias(value: str, product: WeightProduct, weights: WeightInfos) -> bool:
    """Tell whether a value is a constant with one number per output channel, or one for all.

    A value that varies along any other axis (a positional embedding, say) is no bias.
    """
    if value not in weights:
        return False
    # Conv's own bias is a vector along the channels, though it stands on no axis of the output.
    if product.layout.is_convolution and value == product.addend:
        return True
    shape = weights[value].shape
    # What is added to everything alike, hard-swish's 3 say, is part of the activation.
    if value != product.addend and max(shape, default=1) == 1 < product.layout.out_channels:
        return False
    position = len(shape) + product.channel_axis
    return all(
        size == 1 or (axis == position and size == product.layout.out_channels)
        for axis, size in enumerate(shape)
    )
