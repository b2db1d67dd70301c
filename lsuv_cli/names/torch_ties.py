"""Second names of tied parameters, which PyTorch's older exporter stores under one of them."""

from __future__ import annotations

import re
from collections import defaultdict

import onnx

from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.torch_origin import module_path
from lsuv_cli.graph.written_tensors import Naming, WrittenTensor
from lsuv_cli.reading.model import OnnxModel

_AGAIN = re.compile(r"_\d+$")


def second_names(model: OnnxModel, naming: Naming) -> dict[str, WrittenTensor]:
    """Return the tensors that modules have in common with the one that they are named after.

    Args:
        model: the model.
        naming: the tensors under their first names.

    Returns:
        A tensor for each module that reads another module's weight or bias, where that one does so,
        too: under the name that such a module has for it.
    """
    readers: dict[str, set[str]] = defaultdict(set)
    for node in model.nodes:
        path = module_path(node.name) if _is_reader(node) else ""
        for value in node.input if path else ():
            if value in model.weight_values:
                readers[model.view(value).parameter].add(path)
    found: dict[str, WrittenTensor] = {}
    for name, tensor in naming.items():
        module, _, leaf = name.rpartition(".")
        paths = readers[tensor.parameter]
        if module in paths and leaf in ("weight", "bias"):
            others = (path for path in sorted(paths) if _called(path) != _called(module))
            found |= {f"{path}.{leaf}": tensor for path in others}
    return {name: tensor for name, tensor in found.items() if name not in naming}


def _called(path: str) -> list[str]:
    """Return the parts of a path without the numbers that a module's later calls have."""
    return [_AGAIN.sub("", part) for part in path.split(".")]


def _is_reader(node: onnx.NodeProto) -> bool:
    """Return whether a node reads its module's weight or bias, and is named after the module."""
    reads = operator_of(node).product is not None or node.op_type in ("Add", "Gather")
    return reads and node.name.startswith("/")
