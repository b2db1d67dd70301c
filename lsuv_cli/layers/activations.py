"""The activation behind a layer, and where its slope is not flat."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx

from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, values_read
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.reading.model import OnnxModel

# Below this share of its greatest slope an activation passes next to no gradient on.
FLAT_SLOPE = 0.05

# Between a layer and its activation; channels stay where they are.
PASSED = frozenset(
    (
        "BatchNormalization",
        "Dropout",
        "GroupNormalization",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
    )
)

# alpha and gamma of the SELU operator where it does not give them.
SELU_ALPHA, SELU_GAMMA = 1.67326, 1.0507

Active = Callable[[GraphBuilder, onnx.NodeProto, "np.dtype[np.floating]"], str]


def activations_behind(
    model: OnnxModel, layer_nodes: Sequence[LayerNode]
) -> dict[int, onnx.NodeProto]:
    """For each layer's index the activation that its output goes into, where there is one.

    Args:
        model: the model.
        layer_nodes: its layers.
    """
    consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.nodes:
        for name in values_read(node):
            consumers[name].append(node)
    found: dict[int, onnx.NodeProto] = {}
    for index, layer_node in enumerate(layer_nodes):
        value = layer_node.layer.output
        while value and len(consumers[value]) == 1:
            (node,) = consumers[value]
            is_first = node.input and node.input[0] == value
            if not is_first or node.domain not in DEFAULT_DOMAINS:
                break
            if node.op_type in ACTIVATIONS:
                found[index] = node
            if node.op_type not in PASSED:
                break
            value = node.output[0]
    return found


def add_active(
    builder: GraphBuilder, node: onnx.NodeProto, dtype: np.dtype[np.floating]
) -> str | None:
    """Append nodes that tell where an activation is not flat.

    Args:
        builder: the graph; it holds the activation.
        node: the activation.
        dtype: of its input.

    Returns:
        The name of a value of the activation's shape, 1 there and 0 where it is flat; None for an
        activation that is flat nowhere.
    """
    active = ACTIVATIONS[node.op_type]
    if active is None:
        return None
    kind = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    return builder.node("Cast", [active(builder, node, dtype)], to=kind)


def _above(builder: GraphBuilder, value: str, bound: float, dtype: np.dtype[np.floating]) -> str:
    return builder.node("Greater", [value, builder.constant(np.asarray(bound, dtype))])


def _within(
    builder: GraphBuilder,
    value: str,
    low: str | float,
    high: str | float,
    dtype: np.dtype[np.floating],
) -> str:
    names = [
        bound if isinstance(bound, str) else builder.constant(np.asarray(bound, dtype))
        for bound in (low, high)
    ]
    inside = builder.node("Greater", [value, names[0]]), builder.node("Less", [value, names[1]])
    return builder.node("And", inside)


def _input_above(bound: float) -> Active:
    return lambda builder, node, dtype: _above(builder, node.input[0], bound, dtype)


def _output_within(low: float, high: float) -> Active:
    return lambda builder, node, dtype: _within(builder, node.output[0], low, high, dtype)


def _clip(builder: GraphBuilder, node: onnx.NodeProto, dtype: np.dtype[np.floating]) -> str:
    given = attributes(node)
    largest = float(np.finfo(dtype).max)
    bounds: list[str | float] = [given.get("min", -largest), given.get("max", largest)]
    for position, name in enumerate(node.input[1:3]):
        if name:
            bounds[position] = name
    return _within(builder, node.output[0], bounds[0], bounds[1], dtype)


def _thresholded(builder: GraphBuilder, node: onnx.NodeProto, dtype: np.dtype[np.floating]) -> str:
    return _above(builder, node.input[0], attributes(node).get("alpha", 1.0), dtype)


def _exponential(alpha: float, gamma: float = 1.0) -> Active:
    """Gamma alpha (e^x - 1) below 0, whose slope is its value plus gamma alpha."""

    def active(builder: GraphBuilder, node: onnx.NodeProto, dtype: np.dtype[np.floating]) -> str:
        given = attributes(node)
        depth = given.get("alpha", alpha) * given.get("gamma", gamma)
        return _above(builder, node.output[0], (FLAT_SLOPE - 1) * depth, dtype)

    return active


_TANH = math.sqrt(1 - FLAT_SLOPE)  # its slope is 1 - y^2
_SIGMOID = (1 - _TANH) / 2  # its slope is y (1 - y), at most 1/4
_SOFTSIGN = 1 - math.sqrt(FLAT_SLOPE)  # its slope is (1 - |y|)^2
_SOFTPLUS = math.log(FLAT_SLOPE / (1 - FLAT_SLOPE))  # its slope is the sigmoid of x

ACTIVATIONS: Mapping[str, Active | None] = {
    "Celu": _exponential(1.0),
    "Clip": _clip,
    "Elu": _exponential(1.0),
    "Gelu": None,
    "HardSigmoid": _output_within(0.0, 1.0),
    "HardSwish": _input_above(-3.0),
    "LeakyRelu": None,
    "Mish": None,
    "PRelu": None,
    "Relu": _input_above(0.0),
    "Selu": _exponential(SELU_ALPHA, SELU_GAMMA),
    "Sigmoid": _output_within(_SIGMOID, 1 - _SIGMOID),
    "Softplus": _input_above(_SOFTPLUS),
    "Softsign": _output_within(-_SOFTSIGN, _SOFTSIGN),
    "Swish": None,
    "Tanh": _output_within(-_TANH, _TANH),
    "ThresholdedRelu": _thresholded,
}
