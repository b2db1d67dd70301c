"""Which operators let a factor p > 0 through: f(p x) = p f(x).

A layer's scale need not be multiplied into its output at once. Behind it, everything that is
positively homogeneous (ReLU, pooling, reshaping, sums of equally scaled values) can run on the
unscaled values, the factor being remembered, and the next layer's variance is known all the same.
So the activations of a ReLU network are never multiplied at all, which is what makes the
instrumented run cost little more than a plain one.
"""

from __future__ import annotations

from enum import Enum, auto

import onnx

from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes


class Rule(Enum):
    """How a node treats factors on its inputs."""

    FIRST = auto()  # homogeneous in its first input; the others carry no factor
    JOIN = auto()  # homogeneous in all its inputs together, if they carry the same factor
    PRODUCT = auto()  # homogeneous in each of its two inputs
    NONE = auto()  # wants true values


_FIRST = frozenset(
    (
        "Abs",
        "AveragePool",
        "DepthToSpace",
        "Div",
        "Dropout",
        "Expand",
        "Flatten",
        "Gather",
        "GlobalAveragePool",
        "GlobalLpPool",
        "GlobalMaxPool",
        "Identity",
        "LeakyRelu",
        "LpPool",
        "MaxPool",
        "PRelu",
        "ReduceL1",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    )
)
_JOIN = frozenset(
    (
        "Add",
        "Concat",
        "Max",
        "Mean",
        "Min",
        "Sub",
        "Sum",
    )
)
_FACTOR_FREE_OUTPUTS = frozenset(("MaxPool", "Dropout"))


def rule_of(node: onnx.NodeProto) -> Rule:
    """How a node treats factors on its inputs."""
    if node.domain not in DEFAULT_DOMAINS:
        return Rule.NONE
    if node.op_type in _FIRST:
        return Rule.FIRST
    if node.op_type in _JOIN:
        return Rule.JOIN
    if node.op_type == "Mul":
        return Rule.PRODUCT
    if node.op_type == "Pad" and _pads_with_zero(node):
        return Rule.FIRST
    return Rule.NONE


def scaled_outputs(node: onnx.NodeProto) -> list[str]:
    """The outputs that carry the factor; MaxPool's indices and Dropout's mask don't."""
    names = list(node.output)
    return names[:1] if node.op_type in _FACTOR_FREE_OUTPUTS else names


def _pads_with_zero(node: onnx.NodeProto) -> bool:
    return len(node.input) < 3 and not attributes(node).get("value", 0.0)
