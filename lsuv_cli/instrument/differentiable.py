"""The graph that PyTorch differentiates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from lsuv_cli.core.indices import LayerIndex
from lsuv_cli.graph.nodes import values_read
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import NormNode
from lsuv_cli.reading.model import OnnxModel


@dataclass(frozen=True, slots=True)
class DifferentiableGraph:
    """A model whose parameters are inputs and whose layers' outputs are outputs.

    Attributes:
        model: the graph; its inputs are declared without shapes, its outputs without types.
        inputs: the model's own inputs, which come first.
        parameters: the floating-point parameters and views, which follow.
        weights: those of them that are a layer's weight.
        own_outputs: how many of the outputs are the model's own; these come first.
        layers: for each layer's index the place of its output.
    """

    model: onnx.ModelProto
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    weights: frozenset[str]
    own_outputs: int
    layers: Mapping[LayerIndex, int]


def differentiable_graph(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    norms: Sequence[NormNode],
    layers: Collection[LayerIndex],
) -> DifferentiableGraph:
    """Build the graph from a model.

    Args:
        model: the model.
        layer_nodes: its layers, in execution order.
        norms: batch normalisations that are to use the samples' statistics.
        layers: those whose outputs are outputs.
    """
    own = list(dict.fromkeys(value.name for value in model.skeleton.graph.output))
    outputs = list(
        dict.fromkeys([*own, *(layer_nodes[index].layer.output for index in sorted(layers))])
    )
    graph = onnx.GraphProto(name="differentiable")
    graph.node.extend(model.uses.needed(outputs))
    graph.initializer.extend(model.skeleton.graph.initializer)
    _train({norm.node.output[0] for norm in norms}, graph)
    read = {name for node in graph.node for name in values_read(node)}
    parameters = tuple(name for name in model.weight_values if name in read)
    inputs = tuple(spec.name for spec in model.inputs)
    dtypes = {spec.name: np.dtype(spec.dtype or "float32") for spec in model.inputs}
    dtypes |= {name: model.weight_values[name].dtype for name in parameters}
    graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtypes[name]), None)
        for name in (*inputs, *parameters)
    )
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    return DifferentiableGraph(
        model=helper.make_model(
            graph,
            opset_imports=model.skeleton.opset_import,
            functions=model.skeleton.functions,
        ),
        inputs=inputs,
        parameters=parameters,
        weights=frozenset(name for index in layers for name in _weights(layer_nodes[index], model)),
        own_outputs=len(own),
        layers={index: outputs.index(layer_nodes[index].layer.output) for index in sorted(layers)},
    )


def _weights(layer_node: LayerNode, model: OnnxModel) -> tuple[str, ...]:
    """Return the weight of a layer, or the parameters that it is computed from."""
    layer = layer_node.layer
    if layer.computed_weight:
        return model.computed_weights[layer.computed_weight].parameters
    return (layer.weight_value,)


def _train(normalised: Collection[str], graph: onnx.GraphProto) -> None:
    """Have batch normalisations, given by their outputs, use the samples' statistics."""
    for node in graph.node:
        if node.output[0] in normalised:
            kept = [one for one in node.attribute if one.name != "training_mode"]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("training_mode", 1)])
