"""Batch normalisations with stored statistics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import onnx

from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes
from lsuv_cli.layers.data_dependent_sizes import values_of_data_dependent_size
from lsuv_cli.layers.data_values import values_from_inputs
from lsuv_cli.reading.model import OnnxModel

DEFAULT_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class NormNode:
    """A BatchNormalization whose running statistics are parameters.

    Attributes:
        node: the node.
        scale: the value that multiplies the normalised input, (c,).
        shift: the value that is added to it, (c,).
        running_mean: the parameter that holds the running mean, (c,).
        running_variance: the parameter that holds the running variance, (c,).
        epsilon: the number that is added to the variance.
        channels: the number of channels, c.
        has_data_dependent_size: see `LayerNode`.
    """

    node: onnx.NodeProto
    scale: str
    shift: str
    running_mean: str
    running_variance: str
    epsilon: float
    channels: int
    has_data_dependent_size: bool


def batch_norms(model: OnnxModel) -> list[NormNode]:
    """Return the batch normalisations that can get the samples' statistics.

    Their inputs depend on the data, and no other node has the same running statistics: these can't
    be the statistics of several nodes' inputs, and the result could not be verified.
    """
    from_inputs = values_from_inputs(model)
    norms = find_norms(model)
    calls = Counter(norm.running_mean for norm in norms if norm.node.input[0] in from_inputs)
    return [
        norm
        for norm in norms
        if norm.node.input[0] in from_inputs and calls[norm.running_mean] == 1
    ]


def find_norms(model: OnnxModel) -> list[NormNode]:
    """Return the batch normalisations of a model's main graph, in execution order."""
    data_dependent = values_of_data_dependent_size(model)
    return [
        NormNode(
            node=node,
            scale=node.input[1],
            shift=node.input[2],
            running_mean=node.input[3],
            running_variance=node.input[4],
            epsilon=attributes(node).get("epsilon", DEFAULT_EPSILON),
            channels=model.weight_values[node.input[3]].shape[0],
            has_data_dependent_size=node.input[0] in data_dependent,
        )
        for node in model.nodes
        if node.op_type == "BatchNormalization"
        and node.domain in DEFAULT_DOMAINS
        and node.input[3] in model.weight_values
        and node.input[4] in model.weight_values
    ]
