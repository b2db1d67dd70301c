"""Where in a Keras model a node of a file by tf2onnx came from, by the node's name.

Keras 3 opens a layer's name scope twice for each call, to build it and to call it, and TensorFlow
numbers scopes that are opened again: the operations of the layer `dense` are in `dense_1`, those of
`dense_1` in `dense_1_1`, and those of the second call of `dense` in `dense_3`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import onnx

_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?")  # around all that a SavedModel holds
_NUMBERED = re.compile(r"(.+)_\d+")
# A layer that multiplies twice has Tensordot_1, too, which is no layer.
_OPERATION = re.compile(r"Tensordot_\d+")

# Constants that TensorFlow or tf2onnx has folded lose their name; a depthwise kernel always does.
FOLDED_CONSTANT = re.compile(r"(.*/)?const_fold_opt__\d+")
# What is a variable, or one in another shape. Other constants are written in the layers' code.
VARIABLE = re.compile(r".*/(ReadVariableOp(_\d+)?|ExpandDims_\d+|Squeeze|Reshape(_\d+)?):0")
_PRODUCTS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_OTHER_READERS = frozenset(("Add", "Mul", "Sub"))


@dataclass(frozen=True, slots=True)
class Scope:
    """What a name says.

    Attributes:
        layers: the names of the layer it came from and of those around it, outermost first; empty
            where nothing tells.
        raw: the same as it stands in the file.
        operation: the rest.
    """

    layers: tuple[str, ...]
    raw: str
    operation: str


def is_from_tf2onnx(model: onnx.ModelProto) -> bool:
    """Whether tf2onnx wrote the model, by itself or for Keras' `export`."""
    return model.producer_name == "tf2onnx"


def scope_of(name: str) -> Scope:
    """Take apart the name of a node or of a parameter."""
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
    """Where a node came from: by its name or, where tf2onnx made a new one, by its output's."""
    scope = scope_of(node.name)
    return scope if scope.layers else scope_of(node.output[0])


def separate_layers(nodes: Iterable[onnx.NodeProto], parameters: Collection[str]) -> dict[str, str]:
    """Give layers that share a stored parameter, without being the same layer, one each.

    tf2onnx stores constants of equal values once, whatever variables they are. An embedding is
    shared on purpose.

    Args:
        nodes: modified: they read the new names.
        parameters: the stored parameters' names.

    Returns:
        For each new name the parameter it is a copy of.
    """
    nodes = list(nodes)
    embeddings = {node.input[0] for node in nodes if node.op_type == "Gather"}
    owners: dict[str, tuple[str, ...]] = {}
    copies: dict[str, str] = {}
    for node in nodes:
        reader = scope_of_node(node)
        for position, name in enumerate(node.input):
            if name in embeddings or not reader.layers or not _is_variable(node, name, parameters):
                continue
            scope = scope_of(name)
            own = owners.setdefault(name, scope.layers or reader.layers)
            if own == reader.layers:
                continue
            rest = name.removeprefix(scope.raw).removeprefix("/")
            new = f"{reader.raw}/{rest}"
            if new not in parameters:
                copies[new] = name
                node.input[position] = new
    return copies


def _is_variable(node: onnx.NodeProto, name: str, parameters: Collection[str]) -> bool:
    """Whether it is a variable that the node's own layer has."""
    if name not in parameters:
        return False
    if FOLDED_CONSTANT.fullmatch(name):
        return node.op_type in _PRODUCTS or scope_of_node(node).operation == "BiasAdd"
    return VARIABLE.fullmatch(name) is not None and node.op_type in _PRODUCTS | _OTHER_READERS
