"""Names of a PyTorch module's state_dict, for the parameters of an ONNX file.

Both of PyTorch's exporters keep the names of most parameters. The weight of a Linear on an input of
more than two axes becomes a transposed constant with a made-up name (`onnx::MatMul_289`, `val_17`);
what remains of its module's path is in its bias's name, in the node's metadata (dynamo) or in the
node's name (script).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lsuv_cli.core.layout import Order, TensorInfo
from lsuv_cli.core.records import Layer
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
    """Name parameters as in the module's state_dict, in PyTorch's shapes.

    Constants with made-up names that no layer uses are left out, since they are not parameters of
    the module. A BatchNorm's step counter, which ONNX files don't hold, is added.

    Args:
        model: the model.
        layer_nodes: its layers.
        parameters: shape and dtype of each parameter to be written.

    Returns:
        The tensors by name, and the layers whose weight or bias has lost its name.
    """
    recurrent = recurrent_names(model)
    recovered, lost = _recovered(model, layer_nodes, recurrent)
    kept = [name for name in parameters if not MADE_UP.fullmatch(name)]
    gates = [name for tensors in recurrent.values() for name in tensors]
    uses = Counter([*kept, *gates, *(tensor.name for tensor in recovered.values())])
    for layer_node in layer_nodes:
        tensor = recovered.get(model.view(layer_node.layer.weight_value).parameter)
        if tensor is not None and uses[tensor.name] > 1:
            lost.append(layer_node.layer.name)
    naming: dict[str, WrittenTensor] = {}
    for source, info in parameters.items():
        for name, pieces in recurrent.get(source, {}).items():
            naming[name] = written_as(source, info, pieces)
        if source in recurrent:
            continue
        if source in recovered or not MADE_UP.fullmatch(source):
            tensor = recovered.get(source, _ModuleTensor(source))
            naming[tensor.name] = written_as(source, info, (tensor.steps,))
    for name in _step_counters(model, naming):
        naming[name] = WrittenTensor("", (), TensorInfo((), np.dtype(np.int64)))
    return naming, list(dict.fromkeys(lost))


@dataclass(frozen=True, slots=True)
class _ModuleTensor:
    """A tensor of the state_dict: its name, and the steps from the parameter to it."""

    name: str
    steps: tuple[ViewStep, ...] = ()


def _recovered(
    model: OnnxModel, layer_nodes: Sequence[LayerNode], known: Collection[str]
) -> tuple[dict[str, _ModuleTensor], list[str]]:
    """Recover the tensors of parameters with made-up names, and list the layers where that fails.

    Args:
        model: the model.
        layer_nodes: its layers.
        known: parameters whose names are known otherwise.
    """
    recovered: dict[str, _ModuleTensor] = {}
    lost: list[str] = []
    for layer_node in layer_nodes:
        for name in filter(None, (layer_node.layer.weight_value, layer_node.layer.bias_value)):
            source = model.view(name).parameter
            if source in recovered or source in known or not MADE_UP.fullmatch(source):
                continue
            if source in model.fixed:  # it is no parameter of the module
                continue
            # `torch_recurrent` recovers a recurrent layer's names as a whole, or not at all.
            found = (
                None
                if layer_node.layer.recurrent
                else _recover(model, layer_node, is_bias=name == layer_node.layer.bias_value)
            )
            if found is None:
                lost.append(layer_node.layer.name)
            else:
                recovered[source] = found
    return recovered, lost


def folded_norms(model: OnnxModel, layer_nodes: Sequence[LayerNode]) -> list[str]:
    """Return the names of convolutions into which the exporter has folded a BatchNorm.

    The script exporter makes up new names for their weights, and does so for no other reason. The
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
                and model.view(layer_node.layer.weight_value).parameter not in model.fixed
            )
        )
    ]


def _step_counters(model: OnnxModel, naming: Naming) -> list[str]:
    """Return the names of the step counters of those BatchNorms that are written."""
    written = {tensor.parameter: name for name, tensor in naming.items()}
    names = []
    for norm in find_norms(model):
        name = written.get(model.view(norm.running_mean).parameter, "")
        if name.endswith(".running_mean"):
            names.append(name.removesuffix("running_mean") + "num_batches_tracked")
    return names


def _recover(model: OnnxModel, layer_node: LayerNode, *, is_bias: bool) -> _ModuleTensor | None:
    """Recover the tensor of a layer's weight or bias; None if nothing tells its module."""
    layer = layer_node.layer
    if _is_one_of_several(model, layer, is_bias=is_bias):
        return None
    known = model.view(layer.bias_value).parameter if layer.bias_value else ""
    prefix = ""
    steps = (Transposed((1, 0)),) if layer.layout.order is Order.IN_OUT else ()
    if not is_bias and not MADE_UP.fullmatch(known) and (match := BIAS.fullmatch(known)):
        return _ModuleTensor(f"{match[1]}weight{match[2]}", steps)
    if scope := scopes(layer_node.node)[:-1]:
        prefix = f"{scope[-1]}."
    elif path := module_path(layer_node.node.name):
        prefix = f"{path}."
    if prefix in ("", "."):
        return None
    if is_bias:
        return _ModuleTensor(f"{prefix}bias")
    return _ModuleTensor(f"{prefix}weight", steps)


def _is_one_of_several(model: OnnxModel, layer: Layer, *, is_bias: bool) -> bool:
    """Return whether a weight or bias is stacked with others in a parameter, named by its user."""
    view = model.view((layer.bias_value if is_bias else layer.weight_value) or "")
    rank = len(model.parameters[view.parameter].shape)
    return bool(view.part) and rank > (1 if is_bias else 2)
