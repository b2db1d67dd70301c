"""A layer together with its node in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from lsuv_cli.core.choices import Status
from lsuv_cli.core.planning import Reason
from lsuv_cli.core.records import Layer

NO_DATA: Reason = ("no data reaches it", Status.UNREACHABLE)


@dataclass(frozen=True, slots=True)
class LayerNode:
    """A layer and its node in the graph.

    Attributes:
        layer: the layer's record, which names no node.
        node: the linear node.
        product_inputs: the inputs with which the node computes its product alone; "" for an input
            that is left out, such as the addend. Data and weight are the first two.
        data: the value that is multiplied by the weight.
        channel_axis: the output's channel axis, counted from the end.
        addend: the value that the node itself adds to the product: its bias, or a value that is no
            bias; "" if none.
        addend_factor: the factor of the addend (Gemm's beta).
        bias_node: the Add that follows the node and adds its bias; None where the node does.
        unusable: the reason why the layer can't be initialised whatever the options say, and its
            status then; None where it can.
        has_data_dependent_size: whether the number of rows of its output depends on what the
            samples hold, and may be 0; see `values_of_data_dependent_size`.
    """

    layer: Layer
    node: onnx.NodeProto
    product_inputs: tuple[str, ...]
    data: str
    channel_axis: int
    addend: str
    addend_factor: float
    bias_node: onnx.NodeProto | None
    unusable: Reason | None = None
    has_data_dependent_size: bool = False

    @property
    def is_measurable(self) -> bool:
        """Return whether the layer has an output that a run of the model makes."""
        unreachable = self.unusable is not None and self.unusable[1] is Status.UNREACHABLE
        return not (unreachable or self.layer.recurrent)


def used_values(layer_nodes: Sequence[LayerNode]) -> list[str]:
    """Return the graph values that layers use as weight or bias."""
    return [
        name
        for layer_node in layer_nodes
        for name in (
            layer_node.layer.weight_value,
            layer_node.layer.bias_value,
            *(part.value for part in layer_node.layer.scaled_parts),
            *layer_node.layer.computed_bias,
        )
        if name
    ]
