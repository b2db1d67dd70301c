"""Vectors of a PyTorch module to which its older exporter has given axes of size 1.

The slopes of a PReLU and the scale and shift of a GroupNorm become folded constants with made-up
names; the nodes that read them are named after their modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx

from lsuv_cli.graph.torch_origin import MADE_UP, module_path
from lsuv_cli.graph.views import Reshaped, ViewStep
from lsuv_cli.reading.model import OnnxModel

# What a node of these operators reads behind the normalisation inside a GroupNorm.
_OF_GROUP_NORM = {"Mul": "weight", "Add": "bias"}


def vector_names(model: OnnxModel) -> dict[str, tuple[str, tuple[ViewStep, ...]]]:
    """Return the name and the steps to its own shape of each vector, by its parameter."""
    return {
        name: (tensor, (Reshaped((math.prod(model.parameters[name].shape),)),))
        for node, tensor in _readers(model)
        for name in node.input
        if name in model.parameters
        and MADE_UP.fullmatch(name)
        and math.prod(model.parameters[name].shape) in (1, *model.parameters[name].shape)
    }


def _readers(model: OnnxModel) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Yield the nodes that read a module's vector, and the vector's name."""
    normalised = {
        module_path(node.name) for node in model.nodes if node.op_type == "InstanceNormalization"
    }
    for node in model.nodes:
        path = module_path(node.name) if node.name.startswith("/") else ""
        if path and node.op_type == "PRelu":
            yield node, f"{path}.weight"
        elif path in normalised and path and node.op_type in _OF_GROUP_NORM:
            yield node, f"{path}.{_OF_GROUP_NORM[node.op_type]}"
