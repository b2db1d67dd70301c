"""Names of a PyTorch module's state_dict, for a file that has the exported program's signature.

The signature lists the whole state_dict. `passes/torch_tensors` has found those of its tensors that
the graph holds; what is left is lost, or was never read by the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.torch_signature import ExportedSignature, operation_of, rules_of
from lsuv_cli.graph.views import View
from lsuv_cli.graph.written_tensors import Naming, WrittenTensor, written_as
from lsuv_cli.layers.layer_node import LayerNode, used_values
from lsuv_cli.names.exporter import RecoveredNames, some_of
from lsuv_cli.names.torch_recurrent import recurrent_names
from lsuv_cli.reading.model import OnnxModel

SHOWN = 5  # lost tensors, in the sentence that refuses a file

SAVED = (
    "save the module by torch.export.save(torch.export.export(model, args), 'model.pt2') and give "
    "that file"
)
UNOPTIMISED = f"export with torch.onnx.export(..., dynamo=True, optimize=False), or {SAVED}"


def exported_names(
    model: OnnxModel, signature: ExportedSignature, layer_nodes: Sequence[LayerNode]
) -> RecoveredNames:
    """Name the tensors of the exported module's state_dict, in its order and with its shapes.

    Args:
        model: the model.
        signature: what its file tells about the module.
        layer_nodes: its layers.
    """
    recurrent = {
        name: (parameter, pieces)
        for parameter, tensors in recurrent_names(model).items()
        for name, pieces in tensors.items()
    }
    integers = {tensor.name: tensor for tensor in model.skeleton.graph.initializer}
    naming: dict[str, WrittenTensor] = {}
    others: dict[str, NDArray[Any]] = {}
    lost = []
    for name in signature.state:
        view = _view(model, name)
        if view is not None and view.parameter in model.parameters:
            info = model.parameters[view.parameter]
            naming[name] = written_as(view.parameter, info, (view.steps,))
        elif view is not None and view.parameter in integers:
            others[name] = numpy_helper.to_array(integers[view.parameter])
        elif name in recurrent:
            parameter, pieces = recurrent[name]
            naming[name] = written_as(parameter, model.parameters[parameter], pieces)
        elif name.rpartition(".")[2] == "num_batches_tracked":
            # No ONNX file has it, and a new one is zero.
            others[name] = np.zeros((), np.int64)
        else:
            lost.append(name)
            continue
        if name in others:
            info = TensorInfo(others[name].shape, others[name].dtype)
            naming[name] = WrittenTensor("", (), info)
    reasons, absent = [], lost
    lost += _doubled(model, signature, naming, layer_nodes)
    if _is_optimised(model, signature):
        folded = _folded(model, signature)
        # What is not folded was not read, or was optimised away: a factor of one, say.
        reasons = [
            f"{some_of(names, SHOWN)} {'was' if len(names) == 1 else 'were'} {fate}"
            for fate, names in (
                ("folded into other constants", [name for name in lost if name in folded]),
                ("left out of it", [name for name in lost if name not in folded]),
            )
            if names
        ]
        absent = []
    return RecoveredNames(
        naming,
        others=others,
        reasons=reasons,
        absent=absent,
        is_complete=True,
        remedy=SAVED if absent else UNOPTIMISED,
    )


def _view(model: OnnxModel, name: str) -> View | None:
    """Return a tensor of the module as a view of a parameter, or of an integer initializer."""
    found = model.module_tensors.get(name)
    if found is None:
        return None
    held = model.view(found.parameter)
    return View(held.parameter, (*held.steps, *found.steps))


def _doubled(
    model: OnnxModel,
    signature: ExportedSignature,
    naming: Naming,
    layer_nodes: Sequence[LayerNode],
) -> list[str]:
    """Return the tensors of the module with constants made of them that must change together.

    Either is a layer's, and of a constant nothing is written.
    """
    changed = {model.view(value).parameter for value in used_values(layer_nodes)}
    named = {tensor.parameter for tensor in naming.values()}
    constants = [name for name in model.parameters if name not in named]
    doubled = {name for constant in constants for name in signature.sources(constant)}
    unwritten = {
        name for constant in changed.intersection(constants) for name in signature.sources(constant)
    }
    return [
        name
        for name in naming
        if name in unwritten or (name in doubled and naming[name].parameter in changed)
    ]


def _is_optimised(model: OnnxModel, signature: ExportedSignature) -> bool:
    """Return whether the exporter has optimised the graph, as it does by default."""
    return bool(signature.folded_from) or any(rules_of(node) for node in model.nodes)


def _folded(model: OnnxModel, signature: ExportedSignature) -> set[str]:
    """Return the tensors of the module that went into a constant, or that an operation is given."""
    folded = {name for sources in signature.folded_from.values() for name in sources}
    for node in model.nodes:
        if operation := operation_of(node):
            folded.update(signature.tensors_read(operation))
    return folded | {name for name in model.parameters if name in signature.tensors}
