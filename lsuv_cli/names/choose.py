"""Which names the written file uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lsuv_cli.core.choices import Names
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Events
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.written_tensors import Naming, onnx_names
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.names.keras import Shapes, keras_names
from lsuv_cli.names.torch import folded_norms, torch_names
from lsuv_cli.reading.model import OnnxModel

UNFOLDED = (
    "export with torch.onnx.export(..., training=torch.onnx.TrainingMode.PRESERVE, "
    "do_constant_folding=False, dynamo=False) to keep it"
)
IN_TRAINING = "give tf2onnx a function that calls the model with training=True to keep it"


@dataclass(frozen=True, slots=True)
class _Recovered:
    """The names of a framework, and what speaks against them.

    Attributes:
        framework: its name, and its genitive.
        naming: the names.
        reasons: why they are not all that is needed; none where they are.
        left_out: what the user should know of constants that have no name.
    """

    framework: tuple[str, str]
    naming: Naming
    reasons: list[str]
    left_out: str = ""


def choose_names(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    names: Names,
    events: Events,
    like: Shapes | None = None,
) -> Naming:
    """The written file's names, and a word to the user where they are not the ONNX file's.

    Args:
        model: the model.
        layer_nodes: its layers.
        names: what the user asked for.
        events: told what was chosen, and why.
        like: the names and shapes of the checkpoint that the written file is for, if given.

    Raises:
        ModelError: a framework's names were asked for and can't be told.
    """
    parameters = model.written(
        name
        for layer_node in layer_nodes
        for name in (layer_node.layer.weight_value, layer_node.layer.bias_value)
        if name
    )
    if names is Names.TORCH or (names is Names.AUTO and model.is_from_torch):
        found = _of_torch(model, layer_nodes, parameters)
    elif names is Names.KERAS or (names is Names.AUTO and model.is_from_tf2onnx):
        found = _of_keras(model, layer_nodes, parameters, like)
    else:
        return onnx_names(parameters)
    framework, genitive = found.framework
    reasons = "; ".join(found.reasons)
    if reasons and names is not Names.AUTO:
        raise ModelError(f"{model.path} does not tell {genitive} names: {reasons}")
    if reasons:
        events.warn(f"the written names are the ONNX file's, not {genitive}: {reasons}")
        return onnx_names(parameters)
    new = [name for name, stored in found.naming.items() if stored.parameter not in ("", name)]
    if new:
        events.note(f"names as in {framework}: {len(new)} recovered ({some_of(new)})")
    written = {stored.parameter for stored in found.naming.values()}
    left_out = [
        f"{name} {list(info.shape)}"
        for name, info in parameters.items()
        if name not in written and math.prod(info.shape) > 1
    ]
    if left_out:
        events.warn(
            f"not written, being constants without a name in {framework}: {some_of(left_out)}"
            f"{found.left_out}"
        )
    return found.naming


def _of_torch(
    model: OnnxModel, layer_nodes: Sequence[LayerNode], parameters: dict[str, TensorInfo]
) -> _Recovered:
    naming, lost = torch_names(model, layer_nodes, parameters)
    folded = folded_norms(layer_nodes)
    reasons = []
    if folded:
        reasons.append(f"BatchNorm was folded into {some_of(folded)}; {UNFOLDED}")
    lost = [name for name in lost if name not in folded]
    if lost:
        reasons.append(f"nothing tells where {some_of(lost)} came from")
    advice = f"; if a parameter is among them, {UNFOLDED}"
    return _Recovered(("PyTorch", "PyTorch's"), naming, reasons, advice)


def _of_keras(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    parameters: dict[str, TensorInfo],
    like: Shapes | None,
) -> _Recovered:
    framework = ("Keras", "Keras'")
    if not model.is_from_tf2onnx:
        return _Recovered(framework, {}, ["tf2onnx did not write it"])
    found = keras_names(model, layer_nodes, parameters, like)
    reasons = []
    if found.folded:
        reasons.append(f"BatchNormalization was folded into {some_of(found.folded)}; {IN_TRAINING}")
    if found.lost and like is None:
        reasons.append(f"nothing tells where {some_of(found.lost)} came from")
    elif found.lost:
        reasons.append(f"--like has no path that fits {some_of(found.lost)}")
    if found.untold:
        reasons.append(
            f"nothing tells whether {some_of(found.untold)} counts in the paths of Keras' "
            "variables, as a Functional model does not; --like FILE with the paths tells"
        )
    return _Recovered(framework, found.naming, reasons)


def some_of(names: Sequence[str]) -> str:
    """The first three of some names, and how many more there are."""
    listed = ", ".join(names[:3])
    return f"{listed} and {len(names) - 3} more" if len(names) > 3 else listed
