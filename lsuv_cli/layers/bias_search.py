"""The bias of a layer: which constant, added by which node."""

from __future__ import annotations

import onnx

from lsuv_cli.graph.operators.products import Product, WeightInfos
from lsuv_cli.layers.uses import Uses


def added_behind(
    node: onnx.NodeProto, product: Product, uses: Uses
) -> tuple[str, onnx.NodeProto | None]:
    """The constant that a following Add adds, and that Add; ("", None) without one."""
    model = uses.model
    following = uses.consumers[node.output[0]]
    if len(following) == 1 and node.output[0] not in {v.name for v in model.skeleton.graph.output}:
        other = _added_constant(following[0], node.output[0], model.weight_values)
        if other and is_bias(other, product, model.weight_values):
            return other, following[0]
    return "", None


def _added_constant(node: onnx.NodeProto, product: str, weights: WeightInfos) -> str:
    """The constant that an Add adds to a product; "" where the node is something else."""
    if node.op_type != "Add":
        return ""
    other = node.input[1] if node.input[0] == product else node.input[0]
    return other if other in weights else ""


def is_bias(name: str, product: Product, weights: WeightInfos) -> bool:
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
