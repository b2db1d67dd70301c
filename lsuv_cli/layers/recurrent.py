"""The recurrent matrices of LSTM, GRU and RNN as layers, which are drawn but never scaled."""

from __future__ import annotations

import math
from collections.abc import Collection

from lsuv_cli.core.layout import Order, WeightLayout
from lsuv_cli.core.records import Layer
from lsuv_cli.graph.recurrence import RecurrentMatrix
from lsuv_cli.layers.fixed import is_fixed, why_fixed
from lsuv_cli.layers.layer_node import NO_DATA, LayerNode
from lsuv_cli.layers.parameter_uses import ParameterUses


def recurrent_layer_node(
    matrix: RecurrentMatrix, uses: ParameterUses, data_values: Collection[str]
) -> LayerNode:
    """Return the layer of a recurrent matrix.

    Args:
        matrix: one gate's recurrent matrix.
        uses: the uses of the model's parameters.
        data_values: the values that depend on the model's inputs.
    """
    model = uses.model
    shape = model.weight_values[matrix.weight].shape
    bias_shape = model.weight_values[matrix.bias].shape if matrix.bias else ()
    node = next(node for node in model.nodes if matrix.node in node.output)
    layer = Layer(
        name=matrix.name,
        node=matrix.name,
        op=matrix.op,
        weight_value=matrix.weight,
        weight_name=uses.parameter_name(matrix.weight),
        original_weight_name=uses.parameter_name(matrix.weight),
        tied_values=frozenset(uses.overlapping(matrix.weight)) - {matrix.weight},
        bias_value=matrix.bias or None,
        bias_name=uses.parameter_name(matrix.bias) if matrix.bias else None,
        bias_shape=bias_shape,
        bias_values=frozenset(uses.overlapping(matrix.bias) if matrix.bias else ()),
        has_fixed_bias=is_fixed(model, matrix.bias),
        foreign_addend=False,
        foreign_use="",
        dtype=model.parameters[model.view(matrix.weight).parameter].dtype,
        layout=WeightLayout(shape, Order.OUT_IN),
        output="",
        parameter_count=math.prod(shape) + (math.prod(bias_shape) if matrix.bias else 0),
        recurrent=True,
    )
    has_data = any(name in data_values for name in node.output)
    unusable = why_fixed(model, (matrix.weight,)) if has_data else NO_DATA
    return LayerNode(layer, node, (), "", -1, "", 1.0, None, unusable)
