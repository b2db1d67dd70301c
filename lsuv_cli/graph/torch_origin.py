"""The modules that nodes of PyTorch's exporters came from, and what these do to parameters.

Both exporters store parameters of equal values once, such as those of new normalisations and of
cloned layers. Where they fold constants, they store the transpose of a tied embedding as another
parameter.
"""

from __future__ import annotations

import ast
import re

import numpy as np
import onnx

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.graph.nodes import node_name

# Names that the exporters make up, for folded weights and for constants that are no parameters.
MADE_UP = re.compile(
    r"onnx::\w+_\d+|/.*|val_\d+|_v_\d+|_?(to_)?copy(_\d+)?|c?_?lifted_tensor_\d+|scalar_tensor.*"
    r"|.*_default(_\d+)?|const(ant)?_?\d+|\d+"
)
SCOPES_KEY = "pkg.torch.onnx.name_scopes"


def is_from_torch(model: onnx.ModelProto) -> bool:
    """Say whether one of PyTorch's exporters wrote the model."""
    return model.producer_name == "pytorch"


def is_from_dynamo(model: onnx.ModelProto) -> bool:
    """Say whether the newer of PyTorch's exporters wrote a model that one of them wrote.

    It alone stores metadata, or uses operators of onnxscript's.
    """
    graph = model.graph
    properties = (
        model.metadata_props,
        graph.metadata_props,
        *(n.metadata_props for n in graph.node),
    )
    keys = [prop.key for props in properties for prop in props]
    keys += [opset.domain for opset in model.opset_import]
    return any(key.startswith("pkg.") for key in keys)


def scopes(node: onnx.NodeProto) -> list[str]:
    """Return the modules around a node, then its operation, by the dynamo exporter's metadata."""
    for prop in node.metadata_props:
        if prop.key == SCOPES_KEY:
            return [str(part) for part in ast.literal_eval(prop.value)]
    return []


def module_path(name: str) -> str:
    """Return the module's path in a node's name by the script exporter, `/enc/layers.0/fc/MatMul`.

    A child of a Sequential or ModuleList repeats its parent's name: `/body/body.0/MatMul`.
    """
    path: list[str] = []
    for part in name.split("/")[1:-1]:
        if path and part.startswith(path[-1] + "."):
            path.pop()
        path.append(part)
    return ".".join(path)


def module_of(node: onnx.NodeProto) -> str:
    """Return the path of the module that a node comes from; "" for the outermost, or none known."""
    if around := scopes(node)[:-1]:
        return around[-1]
    return module_path(node.name) if node.name.startswith("/") else ""


def located(node: onnx.NodeProto, model: onnx.ModelProto) -> str:
    """Return `name (operator)` of a node, with its module if one of PyTorch's exporters wrote it.

    As in `node_MatMul_3 (MatMul in blocks.0.attn)`.
    """
    module = module_of(node) if is_from_torch(model) else ""
    return f"{node_name(node)} ({node.op_type}{f' in {module}' if module else ''})"


def is_uniform(value: FloatArray) -> bool:
    """Say whether all elements are equal, as in a new bias or BatchNormalization.

    Equal random values behind an Identity mean that a weight is tied; equal constants mean nothing.
    """
    flat = np.ravel(value)
    return flat.size > 0 and bool((flat == flat[0]).all())
