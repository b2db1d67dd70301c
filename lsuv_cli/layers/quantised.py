"""Layers with quantised weights, which can't be initialised."""

from __future__ import annotations

from lsuv_cli.core.errors import ModelError
from lsuv_cli.graph.nodes import node_name
from lsuv_cli.graph.operators.table import names_of
from lsuv_cli.layers.data_values import values_from_inputs
from lsuv_cli.reading.model import OnnxModel


def refuse_quantised(model: OnnxModel) -> None:
    """Refuse a model with quantised weights.

    Raises:
        ModelError: a layer has quantised weights; the error names the first one.
    """
    from_inputs = values_from_inputs(model)
    integer = names_of(lambda operator: operator.integer_weights)
    products = names_of(lambda operator: operator.product is not None)
    rearranging = names_of(lambda operator: operator.rearranges)
    for node in model.nodes:
        if node.op_type in integer:
            raise _refusal(model, node_name(node), node.op_type)
        if node.op_type not in products:
            continue
        for name in node.input[:2]:
            source = model.uses.producer(name)
            while source is not None and source.op_type in rearranging:
                source = model.uses.producer(source.input[0])
            if (
                source is not None
                and source.op_type == "DequantizeLinear"
                and source.output[0] not in from_inputs
            ):
                raise _refusal(model, node_name(node), source.op_type)


def _refusal(model: OnnxModel, layer: str, operator: str) -> ModelError:
    return ModelError(
        f"the weights of the layer {layer} in {model.path} are quantised ({operator}), which comes "
        "after training; give the floating-point model it was made from"
    )
