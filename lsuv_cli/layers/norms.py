"""Batch normalisations with stored statistics."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes
from lsuv_cli.layers.data_dependent_sizes import values_of_data_dependent_size
from lsuv_cli.layers.data_values import values_from_inputs
from lsuv_cli.layers.layer_node import LayerNode, used_values
from lsuv_cli.layers.parameter_uses import ParameterUses
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


def batch_norms(
    model: OnnxModel, written: Collection[str]
) -> tuple[list[NormNode], list[NormNode]]:
    """Divide the batch normalisations that the data reaches by whether they get its statistics.

    The samples' statistics can replace the stored ones where these are written, and where no other
    node reads them: they can't be the statistics of several nodes' inputs, and the result could
    not be verified.

    Args:
        model: the model.
        written: the parameters that the written file holds.

    Returns:
        Those that get the samples' statistics, and those that keep their own.
    """
    from_inputs, uses = values_from_inputs(model), ParameterUses(model)
    own: list[NormNode] = []
    kept: list[NormNode] = []
    for norm in find_norms(model):
        if norm.node.input[0] not in from_inputs:
            continue
        statistics = (norm.running_mean, norm.running_variance)
        is_own = all(
            model.view(value).parameter in written and uses.read_count(value) == 1
            for value in statistics
        )
        (own if is_own else kept).append(norm)
    return own, kept


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


def written_parameters(model: OnnxModel, layer_nodes: Sequence[LayerNode]) -> dict[str, TensorInfo]:
    """Return the parameters that belong in a file of weights; see `OnnxModel.written`.

    Args:
        model: the model.
        layer_nodes: its layers.
    """
    of_norms = [name for norm in find_norms(model) for name in norm.node.input[1:]]
    return model.written([*used_values(layer_nodes), *of_norms])
