"""Nodes that mark the elements at which the slope of an activation is not flat."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx

from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.graph.nodes import attributes

# Below this share of its greatest slope, an activation passes on next to no gradient.
FLAT_SLOPE = 0.05

# Defaults of Selu's attributes alpha and gamma.
SELU_ALPHA, SELU_GAMMA = 1.67326, 1.0507

TANH_BOUND = math.sqrt(1 - FLAT_SLOPE)  # its slope is 1 - y^2
SIGMOID_BOUND = (1 - TANH_BOUND) / 2  # its slope is y (1 - y), at most 1/4
SOFTSIGN_BOUND = 1 - math.sqrt(FLAT_SLOPE)  # its slope is (1 - |y|)^2
SOFTPLUS_BOUND = math.log(FLAT_SLOPE / (1 - FLAT_SLOPE))  # its slope is the sigmoid of x

# Appends nodes behind an activation whose input has the dtype, and returns the name of a boolean
# value of the activation's shape, true where the slope is not flat; None where it is flat nowhere.
ActiveElements = Callable[[GraphBuilder, onnx.NodeProto, "np.dtype[np.floating]"], str | None]


def flat_nowhere(
    _builder: GraphBuilder, _node: onnx.NodeProto, _dtype: np.dtype[np.floating]
) -> None:
    """Append nothing: the activation is flat nowhere, or at single points only."""


def input_above(bound: float) -> ActiveElements:
    """Return the rule that marks the inputs above a bound."""
    return lambda builder, node, dtype: _above(builder, node.input[0], bound, dtype)


def output_within(low: float, high: float) -> ActiveElements:
    """Return the rule that marks the outputs between two bounds."""
    return lambda builder, node, dtype: _within(builder, node.output[0], low, high, dtype)


def exponential(alpha: float, gamma: float = 1.0) -> ActiveElements:
    """Return the rule for gamma alpha (e^x - 1) below 0, whose slope is its value + gamma alpha.

    Args:
        alpha: alpha's value where the node has no such attribute.
        gamma: gamma's value where the node has no such attribute.
    """

    def active(builder: GraphBuilder, node: onnx.NodeProto, dtype: np.dtype[np.floating]) -> str:
        given = attributes(node)
        depth = given.get("alpha", alpha) * given.get("gamma", gamma)
        return _above(builder, node.output[0], (FLAT_SLOPE - 1) * depth, dtype)

    return active


def between_limits(
    builder: GraphBuilder, node: onnx.NodeProto, dtype: np.dtype[np.floating]
) -> str:
    """Mark the outputs between Clip's limits, which are attributes or inputs."""
    given = attributes(node)
    largest = float(np.finfo(dtype).max)
    bounds: list[str | float] = [given.get("min", -largest), given.get("max", largest)]
    for position, name in enumerate(node.input[1:3]):
        if name:
            bounds[position] = name
    return _within(builder, node.output[0], bounds[0], bounds[1], dtype)


def input_above_alpha(
    builder: GraphBuilder, node: onnx.NodeProto, dtype: np.dtype[np.floating]
) -> str:
    """Mark the inputs above ThresholdedRelu's threshold, its attribute alpha."""
    return _above(builder, node.input[0], attributes(node).get("alpha", 1.0), dtype)


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
