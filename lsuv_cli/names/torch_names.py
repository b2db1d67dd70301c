"""PyTorch's names for an ONNX file's parameters.

Both of PyTorch's exporters keep the names of most parameters. The weight of a Linear on an input of
more than two axes becomes a transposed constant with a made-up name (`onnx::MatMul_289`, `val_17`);
what remains of its module's path is in its bias's name, in the node's metadata (dynamo) or in the
node's name (script).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from lsuv_cli.core.layout import Order, TensorInfo
from lsuv_cli.graph.torch_origin import MADE_UP, module_path, scopes
from lsuv_cli.graph.views import Transposed, ViewStep
from lsuv_cli.graph.written_tensors import Naming, WrittenTensor, written_as
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import find_norms
from lsuv_cli.names.torch_recurrent import recurrent_names
from lsuv_cli.reading.model import OnnxModel

# A bias's name, also of in_proj_bias and of a recurrent layer that an exporter has unrolled.
BIAS = re.compile(r"(.*)bias((?:_[ih]h_l\d+(?:_reverse)?)?)")


def torch_names(
    model: OnnxModel, layer_nodes: Sequence[LayerNode], parameters: Mapping[str, TensorInfo]
) -> tuple[Naming, list[str]]:
    """The parameters under PyTorch's names, in PyTorch's shapes.

    Constants with made-up names that no layer uses are left out: they are no parameters there. A
    BatchNorm's step counter, which ONNX files don't hold, is added.

    Args:
        model: the model.
        layer_nodes: its layers.
        parameters: what is to be written.

    Returns:
        The names, and the names of layers whose weight's or bias's own could not be recovered.
    """
    recurrent = recurrent_names(model)
    recovered, lost = _recovered(model, layer_nodes, recurrent)
    kept = [name for name in parameters if not MADE_UP.fullmatch(name)]
    gates = [name for tensors in recurrent.values() for name in tensors]
    uses = Counter([*kept, *gates, *(name for name, _ in recovered.values())])
    for layer_node in layer_nodes:
        name, _ = recovered.get(model.view(layer_node.layer.weight_value).parameter, ("", ()))
        if uses[name] > 1:
            lost.append(layer_node.layer.name)
    naming: dict[str, WrittenTensor] = {}
    for source, info in parameters.items():
        for name, pieces in recurrent.get(source, {}).items():
            naming[name] = written_as(source, info, pieces)
        if source in recurrent:
            continue
        if source in recovered or not MADE_UP.fullmatch(source):
            name, steps = recovered.get(source, (source, ()))
            naming[name] = written_as(source, info, (steps,))
    for name in _step_counters(model, naming):
        naming[name] = WrittenTensor("", (), TensorInfo((), np.dtype(np.int64)))
    return naming, list(dict.fromkeys(lost))


def _recovered(
    model: OnnxModel, layer_nodes: Sequence[LayerNode], known: Collection[str]
) -> tuple[dict[str, tuple[str, tuple[ViewStep, ...]]], list[str]]:
    """Names of parameters whose own was lost, and the layers where nothing tells."""
    recovered: dict[str, tuple[str, tuple[ViewStep, ...]]] = {}
    lost: list[str] = []
    for layer_node in layer_nodes:
        for name in filter(None, (layer_node.layer.weight_value, layer_node.layer.bias_value)):
            source = model.view(name).parameter
            if source in recovered or source in known or not MADE_UP.fullmatch(source):
                continue
            # Where a recurrent layer's names can't be told as a whole, they can't be in part.
            found = (
                None
                if layer_node.layer.recurrent
                else _recover(model, layer_node, name == layer_node.layer.bias_value)
            )
            if found is None:
                lost.append(layer_node.layer.name)
            else:
                recovered[source] = found
    return recovered, lost


def folded_norms(layer_nodes: Sequence[LayerNode]) -> list[str]:
    """Names of convolutions into which an exporter has folded a BatchNorm.

    The script exporter makes up new names for their weights, which it does for no other reason. The
    dynamo exporter keeps the names, but the node then comes from the BatchNorm.
    """
    return [
        layer_node.layer.name
        for layer_node in layer_nodes
        if layer_node.layer.layout.is_convolution
        and (
            "batch_norm" in "".join(scopes(layer_node.node)[-1:])
            or (
                layer_node.node.name.startswith("/")
                and MADE_UP.fullmatch(layer_node.layer.original_weight_name)
            )
        )
    ]


def _written_names(naming: Naming) -> dict[str, str]:
    """For each parameter its name in the written file."""
    return {stored.parameter: name for name, stored in naming.items()}


def _step_counters(model: OnnxModel, naming: Naming) -> list[str]:
    written = _written_names(naming)
    names = []
    for norm in find_norms(model):
        name = written.get(model.view(norm.running_mean).parameter, "")
        if name.endswith(".running_mean"):
            names.append(name.removesuffix("running_mean") + "num_batches_tracked")
    return names


def _recover(
    model: OnnxModel, layer_node: LayerNode, is_bias: bool
) -> tuple[str, tuple[ViewStep, ...]] | None:
    """The name of a layer's parameter, and what PyTorch has done with it."""
    layer = layer_node.layer
    known = model.view(layer.bias_value).parameter if layer.bias_value else ""
    prefix = ""
    steps = (Transposed((1, 0)),) if layer.layout.order is Order.IN_OUT else ()
    if not is_bias and not MADE_UP.fullmatch(known) and (match := BIAS.fullmatch(known)):
        return f"{match[1]}weight{match[2]}", steps
    if scope := scopes(layer_node.node)[:-1]:
        prefix = f"{scope[-1]}."
    elif path := module_path(layer_node.node.name):
        prefix = f"{path}."
    if prefix in ("", "."):
        return None
    if is_bias:
        return f"{prefix}bias", ()
    return f"{prefix}weight", steps
