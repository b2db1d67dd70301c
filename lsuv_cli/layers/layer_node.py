"""A layer and where it sits in its graph."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from lsuv_cli.core.records import Layer


@dataclass(frozen=True, slots=True)
class LayerNode:
    """A layer, and where it sits in its graph.

    Attributes:
        layer: what the rest of the program needs to know of it.
        node: the linear node.
        product_inputs: the node's inputs, in their places, for its product alone.
        data: the value that the weight is applied to.
        channel_axis: the output's channel axis, counted from the end.
        addend: what the node itself adds to the product: its bias or a foreign value; "" if none.
        addend_factor: what the addend is multiplied by (Gemm's beta).
        bias_node: the Add that follows the node and adds its bias; None where the node does.
        takes_data: whether what flows into the layer depends on the model's inputs.
    """

    layer: Layer
    node: onnx.NodeProto
    product_inputs: tuple[str, ...]
    data: str
    channel_axis: int
    addend: str
    addend_factor: float
    bias_node: onnx.NodeProto | None
    takes_data: bool
