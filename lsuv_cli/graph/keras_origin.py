"""The layer of a Keras model that a node of a tf2onnx file came from, by the node's name.

Keras 3 opens a layer's name scope twice for each call, to build it and to call it, and TensorFlow
numbers scopes that are opened again: the operations of the layer `dense` are in `dense_1`, those of
`dense_1` in `dense_1_1`, and those of the second call of `dense` in `dense_3`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx

_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?")  # around everything in a SavedModel
_NUMBERED = re.compile(r"(.+)_\d+")
# A layer that multiplies twice has Tensordot_1 as well, which is no layer.
_OPERATION = re.compile(r"Tensordot_\d+")

# Constants that TensorFlow or tf2onnx has folded lose their name; a depthwise kernel always does.
FOLDED_CONSTANT = re.compile(r"(.*/)?const_fold_opt__\d+")
# A variable, or one in another shape. Other constants are literals in the code of the layers.
VARIABLE = re.compile(r".*/(ReadVariableOp(_\d+)?|ExpandDims_\d+|Squeeze|Reshape(_\d+)?):0")


@dataclass(frozen=True, slots=True)
class Scope:
    """The parts of a name.

    Attributes:
        layers: the names of the layer it came from and of those around it, outermost first; empty
            where the name has none.
        raw: those names as they are in the file.
        operation: the rest of the name.
    """

    layers: tuple[str, ...]
    raw: str
    operation: str


def is_from_tf2onnx(model: onnx.ModelProto) -> bool:
    """Say whether tf2onnx wrote the model, by itself or for Keras' `export`."""
    return model.producer_name == "tf2onnx"


def scope_of(name: str) -> Scope:
    """Split the name of a node or of a parameter into its parts."""
    parts = name.split("/")
    start = 0
    while start < len(parts) and _CALL.fullmatch(parts[start]):
        start += 1
    layers = []
    for part in parts[start:-1]:
        numbered = _NUMBERED.fullmatch(part)
        if numbered is None or _OPERATION.fullmatch(part):
            break
        layers.append(numbered[1])
    end = start + len(layers)
    return Scope(tuple(layers), "/".join(parts[:end]), "/".join(parts[end:]))


def scope_of_node(node: onnx.NodeProto) -> Scope:
    """Split a node's name or, where tf2onnx made a new one, its first output's."""
    scope = scope_of(node.name)
    return scope if scope.layers else scope_of(node.output[0])
