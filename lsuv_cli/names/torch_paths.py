"""Paths of a PyTorch module's layers, by the names of their weights and the scopes of their nodes.

The weight tells most: where a module passes its parameter to another, as `nn.MultiheadAttention`
does with that of `out_proj`, the node is of the other one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from lsuv_cli.core.layer_names import numbered_calls, whole
from lsuv_cli.core.records import Layer
from lsuv_cli.graph.torch_origin import MADE_UP, module_of
from lsuv_cli.graph.written_tensors import Naming, tensors_by_parameter
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.reading.model import OnnxModel

WEIGHT = "weight"

# `conv.parametrizations.weight.original1`, and what the older way of computing a weight stores.
_PARAMETRIZED = re.compile(r"((?:.*\.)?)parametrizations\.(\w+)\..*")
_COMPUTED = re.compile(r"((?:.*\.)?weight)_(?:v|g|orig)")
# The parameters of nn.MultiheadAttention that stand for modules, and the thirds of the first.
_PROJECTION = re.compile(r"((?:.*\.)?(?:in|q|k|v)_proj)_weight")
_THIRDS = {(0, 1): "q", (1, 2): "k", (2, 3): "v", (1, 3): "kv"}
# PyTorch's letters of the gates of LSTM and GRU, by how many there are.
_RECURRENT = re.compile(r"(?:.*\.)?weight_[ih]h(?:_l\d+)?(?:_reverse)?")
_GATES = {4: "ifgo", 3: "rzn"}
_ROWS = re.compile(r"\[(\d+):(\d+)\]")


def layer_paths(
    model: OnnxModel, layer_nodes: Sequence[LayerNode], naming: Naming, *, names_are_own: bool
) -> list[str]:
    """Return the paths of layers' modules, and other names where no module has the weight.

    A weight that is a parameter by itself gives the layer its own name. A part of a weight stands
    in brackets behind the path, and the number of the call where a weight is used again.

    Args:
        model: the model.
        layer_nodes: its layers, with the names under which their weights are written.
        naming: the written tensors.
        names_are_own: whether these have the names of the module's state_dict.

    Returns:
        A name for each layer, all of them different; its node's where nothing tells more.
    """
    tensors = tensors_by_parameter(naming)
    known = [
        _by_weight(model, layer_node, naming, tensors, names_are_own=names_are_own)
        for layer_node in layer_nodes
    ]
    paths = [module_of(one.node) for one in layer_nodes]
    # The path of a node alone does not tell several weights of its module apart.
    uses = Counter(name or path for name, path in zip(known, paths, strict=True))
    return numbered_calls(
        name or (path if path and uses[path] == 1 else layer_node.layer.node)
        for layer_node, path, name in zip(layer_nodes, paths, known, strict=True)
    )


def _by_weight(
    model: OnnxModel,
    layer_node: LayerNode,
    naming: Naming,
    tensors: Mapping[str, Sequence[str]],
    *,
    names_are_own: bool,
) -> str:
    """Return the name of a layer by its weight; "" where this has none in the state_dict."""
    layer = layer_node.layer
    tensor = whole(layer.weight_name)
    part = layer.weight_name.removeprefix(tensor)
    if not (tensor in naming if names_are_own else _is_of_module(model, tensor)):
        return ""
    # A tied weight has a name for each module; the layer is the module that uses it here.
    own = f"{module_of(layer_node.node)}.{WEIGHT}"
    if own in tensors.get(model.view(layer.weight_value).parameter, ()):
        tensor = own
    return _module(tensor, layer) + _part(tensor, part, naming)


def _is_of_module(model: OnnxModel, tensor: str) -> bool:
    """Return whether a stored tensor has its name from the module, whatever was folded into it."""
    if model.signature is not None:
        return tensor in model.signature.tensors
    return MADE_UP.fullmatch(tensor) is None


def _module(tensor: str, layer: Layer) -> str:
    """Return the module whose weight a tensor is; else the tensor's own name."""
    tensor = _PARAMETRIZED.sub(r"\1\2", tensor)
    if layer.computed_weight:
        tensor = _COMPUTED.sub(r"\1", tensor)
    tensor = _PROJECTION.sub(r"\1", tensor)
    module, _, leaf = tensor.rpartition(".")
    return module if module and leaf == WEIGHT else tensor


def _part(tensor: str, part: str, naming: Naming) -> str:
    """Return the part of a tensor that a layer reads, in words where PyTorch has some."""
    rows = _ROWS.fullmatch(part)
    if rows is None or tensor not in naming:
        return part
    start, stop, count = int(rows[1]), int(rows[2]), naming[tensor].info.shape[0]
    if _PROJECTION.fullmatch(tensor) and count % 3 == 0:
        third = count // 3
        word = _THIRDS.get((start // third, stop // third), "")
        is_whole = start % third == stop % third == 0
        return f"[{word}]" if word and is_whole else part
    size = stop - start
    letters = _GATES.get(count // size, "") if count % size == start % size == 0 else ""
    return f"[{letters[start // size]}]" if letters and _RECURRENT.fullmatch(tensor) else part
