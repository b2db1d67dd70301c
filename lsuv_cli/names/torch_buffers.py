"""Buffers of a PyTorch module that hold no floating-point numbers, in a file of its older exporter.

It stores persistent ones under their names, as parameters, and all others as Constant nodes; of
equal ones all but the first are Identity nodes.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray
from onnx import numpy_helper

from lsuv_cli.graph.nodes import MICROSOFT_DOMAIN
from lsuv_cli.graph.torch_origin import MADE_UP, scopes
from lsuv_cli.reading.model import OnnxModel


def unnamed_indices(model: OnnxModel) -> list[str]:
    """Return the folded constants that pick rows of parameters, as `name [shape]`.

    They may have been computed from a buffer, such as the first of a Transformer's position ids.
    """
    sizes = {
        tensor.name: list(tensor.dims)
        for tensor in model.skeleton.graph.initializer
        if MADE_UP.fullmatch(tensor.name) and math.prod(tensor.dims) > 1
    }
    looked_up = (node.input for node in model.nodes if node.op_type == "Gather")
    return [
        f"{index} {sizes[index]}"
        for table, index in looked_up
        if table in model.weight_values and index in sizes
    ]


def integer_buffers(model: OnnxModel) -> dict[str, NDArray[Any]]:
    """Return the values of the persistent buffers that the skeleton holds, by their names."""
    if any(scopes(node) for node in model.nodes):
        return {}
    values = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in model.skeleton.graph.initializer
    }
    # ONNX Runtime's optimiser adds constants of its own, whose names have no dots.
    is_optimised = any(o.domain == MICROSOFT_DOMAIN for o in model.skeleton.opset_import)
    found = {
        name: value
        for name, value in values.items()
        if not MADE_UP.fullmatch(name) and ("." in name or not is_optimised)
    }
    for node in model.nodes:
        if node.op_type == "Identity" and node.input[0] in values:
            found |= {
                name: values[node.input[0]] for name in node.output if not MADE_UP.fullmatch(name)
            }
    return found
