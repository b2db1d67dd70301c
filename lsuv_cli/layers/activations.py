"""The activation behind a layer, and the elements at which its slope is not flat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from lsuv_cli.core.indices import LayerIndex, by_layer
from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.reading.model import OnnxModel

# For some layers the activation behind each.
Activations = Mapping[LayerIndex, onnx.NodeProto]


def activations_behind(
    model: OnnxModel, layer_nodes: Sequence[LayerNode]
) -> dict[LayerIndex, onnx.NodeProto]:
    """Return, by the layer's index, the activation that a layer's output goes into.

    Nothing but operators of which the table says `precedes_activation` may stand in between.

    Args:
        model: the model.
        layer_nodes: its layers.
    """
    found: dict[LayerIndex, onnx.NodeProto] = {}
    for index, layer_node in by_layer(layer_nodes):
        value = layer_node.layer.output
        while value and (node := model.uses.only_reader(value)) is not None:
            operator = operator_of(node)
            if next(iter(node.input), "") != value:
                break
            if operator.activation is not None:
                found[index] = node
            if not operator.precedes_activation:
                break
            value = node.output[0]
    return found


def add_active(
    builder: GraphBuilder, node: onnx.NodeProto, dtype: np.dtype[np.floating]
) -> str | None:
    """Append nodes that mark the elements at which an activation's slope is not flat.

    Args:
        builder: the graph; it holds the activation.
        node: the activation.
        dtype: the dtype of its input.

    Returns:
        The name of a value of the activation's shape and dtype: 1 where the slope is not flat, 0
        where it is. None for an activation that is flat nowhere.
    """
    mark_active = operator_of(node).activation
    active = mark_active(builder, node, dtype) if mark_active is not None else None
    if active is None:
        return None
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return builder.node("Cast", [active], to=kind)
