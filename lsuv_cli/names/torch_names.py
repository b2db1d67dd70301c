"""Names of a PyTorch module's state_dict, for an ONNX file without the program's signature.

PyTorch's older exporter keeps the names of most parameters. Where it folds constants, the weight of
a Linear on an input of more than two axes becomes a transposed constant with a made-up name
(`onnx::MatMul_289`), and so do slopes with more axes; what remains of their modules' paths is in
the names of the nodes. So does the result of any computation on parameters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lsuv_cli.core.layout import Order, TensorInfo
from lsuv_cli.core.records import Layer
from lsuv_cli.graph.torch_origin import MADE_UP, module_path, scopes
from lsuv_cli.graph.views import Transposed, ViewStep
from lsuv_cli.graph.written_tensors import Naming, WrittenTensor, written_as
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import find_norms
from lsuv_cli.names.exporter import RecoveredNames, some_of
from lsuv_cli.names.torch_buffers import integer_buffers, unnamed_indices
from lsuv_cli.names.torch_recurrent import recurrent_names
from lsuv_cli.names.torch_ties import second_names
from lsuv_cli.names.torch_vectors import vector_names
from lsuv_cli.reading.model import OnnxModel

UNFOLDED = (
    "export with torch.onnx.export(..., training=torch.onnx.TrainingMode.PRESERVE, "
    "do_constant_folding=False, dynamo=False)"
)

# A bias's name, also of in_proj_bias and of a recurrent layer that an exporter has unrolled.
BIAS = re.compile(r"(.*)bias((?:_[ih]h_l\d+(?:_reverse)?)?)")


def torch_names(
    model: OnnxModel, layer_nodes: Sequence[LayerNode], parameters: Mapping[str, TensorInfo]
) -> RecoveredNames:
    """Name parameters as in the module's state_dict, in PyTorch's shapes.

    Constants with made-up names that no layer uses are left out, since they are not parameters of
    the module. A BatchNorm's step counter, which ONNX files don't hold, is added, and so are
    buffers of integers.

    Args:
        model: the model.
        layer_nodes: its layers.
        parameters: shape and dtype of each parameter to be written.
    """
    recurrent = recurrent_names(model)
    found = _recovered(model, layer_nodes, recurrent)
    vectors = {
        source: _ModuleTensor(name, steps)
        for source, (name, steps) in vector_names(model).items()
        if source not in found.tensors
    }
    kept = [name for name in parameters if not MADE_UP.fullmatch(name)]
    gates = [name for tensors in recurrent.values() for name in tensors]
    uses = Counter([*kept, *gates, *(tensor.name for tensor in found.tensors.values())])
    for layer_node in layer_nodes:
        tensor = found.tensors.get(model.view(layer_node.layer.weight_value).parameter)
        if tensor is not None and uses[tensor.name] > 1:
            found.lost.append(layer_node.layer.name)
    recovered = found.tensors | {
        source: tensor for source, tensor in vectors.items() if not uses[tensor.name]
    }
    naming: dict[str, WrittenTensor] = {}
    for source, info in parameters.items():
        for name, pieces in recurrent.get(source, {}).items():
            naming[name] = written_as(source, info, pieces)
        if source in recurrent:
            continue
        if source in recovered or not MADE_UP.fullmatch(source):
            tensor = recovered.get(source, _ModuleTensor(source))
            naming[tensor.name] = written_as(source, info, (tensor.steps,))
    naming |= second_names(model, naming)
    others = integer_buffers(model)
    others |= {name: np.zeros((), np.int64) for name in _step_counters(model, naming)}
    for name, value in others.items():
        naming[name] = WrittenTensor("", (), TensorInfo(value.shape, value.dtype))
    return RecoveredNames(
        naming,
        others=others,
        guessed=[*found.guessed, *(recovered[one].name for one in vectors if one in recovered)],
        reasons=_reasons(model, layer_nodes, found),
        unnamed=unnamed_indices(model),
        advice=f"; if a parameter is among them, {UNFOLDED} to keep it",
        remedy=UNFOLDED,
    )


@dataclass(frozen=True, slots=True)
class _ModuleTensor:
    """A tensor of the state_dict: its name, and the steps from the parameter to it."""

    name: str
    steps: tuple[ViewStep, ...] = ()


@dataclass(frozen=True, slots=True)
class _Recovered:
    """The tensors of parameters with made-up names.

    Attributes:
        tensors: by the parameters.
        guessed: the names of those that are a layer's weight, which may be computed.
        folded: the layers whose weight or bias is the result of a computation.
        lost: the layers of whose weight or bias nothing tells the module.
    """

    tensors: dict[str, _ModuleTensor] = field(default_factory=dict)
    guessed: list[str] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def _recovered(
    model: OnnxModel, layer_nodes: Sequence[LayerNode], known: Collection[str]
) -> _Recovered:
    """Recover the tensors of the layers' parameters that have made-up names.

    Args:
        model: the model.
        layer_nodes: its layers.
        known: parameters whose names are known otherwise.
    """
    found = _Recovered()
    for layer_node in layer_nodes:
        layer = layer_node.layer
        for value in filter(None, (layer.weight_value, layer.bias_value)):
            source = model.view(value).parameter
            if source in found.tensors or source in known or not MADE_UP.fullmatch(source):
                continue
            if source in model.fixed:  # it is no parameter of the module
                continue
            is_bias = value == layer.bias_value
            if _is_computed(layer_node, is_bias=is_bias):
                found.folded.append(layer.name)
                continue
            # `torch_recurrent` recovers a recurrent layer's names as a whole, or not at all.
            tensor = None if layer.recurrent else _recover(model, layer_node, is_bias=is_bias)
            if tensor is None:
                found.lost.append(layer.name)
                continue
            found.tensors[source] = tensor
            if _is_from_script(layer_node):
                found.guessed.append(tensor.name)
        if layer.computed_weight and _reads_folded(model, layer.computed_weight):
            found.folded.append(layer.name)
    return found


def _reads_folded(model: OnnxModel, weight: str) -> bool:
    """Return whether a weight is computed from a constant that the exporter has computed itself."""
    sources = {model.view(name).parameter for name in model.computed_weights[weight].parameters}
    return any(
        MADE_UP.fullmatch(name) and name not in model.constants and name not in model.fixed
        for name in sources
    )


def _is_from_script(layer_node: LayerNode) -> bool:
    """Return whether the older exporter has named a layer's node, after its module."""
    return layer_node.node.name.startswith("/")


def _is_computed(layer_node: LayerNode, *, is_bias: bool) -> bool:
    """Return whether a layer's weight or bias with a made-up name must have been computed.

    The older exporter stores the weights of convolutions, of Linears on matrices (Gemm) and all
    biases as they are; only the weight in a MatMul has been transposed.
    """
    layer = layer_node.layer
    if layer.recurrent or not _is_from_script(layer_node):
        return False
    return is_bias or layer.layout.is_convolution or layer.op == "Gemm"


def _reasons(model: OnnxModel, layer_nodes: Sequence[LayerNode], found: _Recovered) -> list[str]:
    norms = folded_norms(model, layer_nodes)
    folded = list(dict.fromkeys(name for name in found.folded if name not in norms))
    lost = list(dict.fromkeys(name for name in found.lost if name not in (*norms, *folded)))
    reasons = []
    if norms:
        reasons.append(f"BatchNorm, or what computes the weight, was folded into {some_of(norms)}")
    if folded:
        reasons.append(f"parameters of {some_of(folded)} were folded into other constants")
    if lost:
        reasons.append(f"nothing tells where {some_of(lost)} came from")
    return reasons


def folded_norms(model: OnnxModel, layer_nodes: Sequence[LayerNode]) -> list[str]:
    """Return the names of convolutions into which the exporter has folded a BatchNorm.

    The older exporter makes up new names for their weights and biases. The dynamo exporter keeps
    the names, but the node then comes from the BatchNorm.
    """
    return [
        layer_node.layer.name
        for layer_node in layer_nodes
        if layer_node.layer.layout.is_convolution
        and (
            "batch_norm" in "".join(scopes(layer_node.node)[-1:])
            or (
                _is_from_script(layer_node)
                and MADE_UP.fullmatch(layer_node.layer.original_weight_name)
                and MADE_UP.fullmatch(layer_node.layer.bias_name or "")
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
