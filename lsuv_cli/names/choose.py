"""The names of a written file's tensors: an exporter's framework's, or the ONNX file's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from lsuv_cli.core.choices import AUTO_NAMES, ONNX_NAMES
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Events
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.fixed import IS_CONSTANT
from lsuv_cli.graph.written_tensors import (
    Naming,
    onnx_names,
    tensors_by_parameter,
    written_name,
)
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import written_parameters
from lsuv_cli.names.exporter import RecoveredNames, Shapes, some_of
from lsuv_cli.names.exporters import chosen_exporter
from lsuv_cli.reading.model import OnnxModel

# Tensors that are lost, listed in the sentence that refuses a file.
SHOWN_LOST = 5


@dataclass(frozen=True, slots=True)
class ChosenNames:
    """The tensors of a written file.

    Attributes:
        naming: the tensors.
        others: the values of those that are no parameters of the graph and not zero.
        absent: the framework's tensors that the file does not have, as the network does not read
            them.
        guessed: the names that follow from the place of a node alone; see `RecoveredNames`.
        framework: whose names they are; "" for the ONNX file's.
        remedy: how to write the model so that nothing is guessed, for the end of a sentence.
    """

    naming: Naming
    others: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    absent: Sequence[str] = ()
    guessed: Sequence[str] = ()
    framework: str = ""
    remedy: str = ""

    @property
    def recovered(self) -> list[str]:
        """The names that the ONNX file does not have."""
        return [name for name, one in self.naming.items() if one.parameter not in ("", name)]


def choose_names(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    names: str,
    events: Events,
    like: Shapes | None = None,
    *,
    required: bool = False,
) -> ChosenNames:
    """Name the written file's tensors, and tell the user where they are not the ONNX file's.

    Args:
        model: the model.
        layer_nodes: its layers.
        names: what the user asked for, a word of `names_words`.
        events: receives notes and warnings about the choice.
        like: names and shapes of the checkpoint that the written file is for, if given.
        required: whether the ONNX file's names are of no use where the framework's are lost and the
            model could be written with them.

    Raises:
        ModelError: a framework's names were asked for, or required, and can't be recovered.
    """
    parameters = written_parameters(model, layer_nodes)
    is_auto = names == AUTO_NAMES
    exporter = chosen_exporter(model.skeleton, names)
    if exporter is None:
        return ChosenNames(onnx_names(parameters))
    framework = exporter.framework
    possessive = f"{framework}'" if framework.endswith("s") else f"{framework}'s"
    recovered = exporter.recover(model, layer_nodes, parameters, like)
    absent = [name for name in recovered.absent if name not in (like or ())]
    reasons = list(recovered.reasons)
    must = required and bool(recovered.remedy)
    if absent and must:
        lacking = some_of(absent, SHOWN_LOST)
        reasons.append(f"the network does not read {lacking}, so that the file lacks them")
    text = "; ".join((*reasons, *filter(None, (recovered.remedy,))))
    if reasons and (must or not is_auto):
        instead = f"; --names {ONNX_NAMES} writes the ONNX file's names instead" if must else ""
        raise ModelError(f"can't recover {possessive} names from {model.path}: {text}{instead}")
    if reasons:
        events.warn(f"the written names are the ONNX file's, not {possessive}: {text}")
        return ChosenNames(onnx_names(parameters))
    if absent:
        events.warn(f"not written, because the file does not have them: {some_of(absent)}")
    own = {name: one for name, one in parameters.items() if model.fixed.get(name) != IS_CONSTANT}
    _warn_of_constants(recovered, own, framework, events)
    return ChosenNames(
        recovered.naming,
        recovered.others,
        recovered.absent,
        recovered.guessed,
        framework,
        recovered.remedy,
    )


def _warn_of_constants(
    recovered: RecoveredNames,
    parameters: Mapping[str, TensorInfo],
    framework: str,
    events: Events,
) -> None:
    """Warn of constants that might be parameters of the framework, and are not written."""
    written = {tensor.parameter for tensor in recovered.naming.values()}
    left_out = [
        f"{name} {list(info.shape)}"
        for name, info in parameters.items()
        if name not in written and math.prod(info.shape) > 1
    ]
    left_out += recovered.unnamed
    if left_out and not recovered.is_complete:
        events.warn(
            f"not written, because they have no name in {framework}: {some_of(left_out)}"
            f"{recovered.advice}"
        )


def with_written_names(
    model: OnnxModel, layer_nodes: Sequence[LayerNode], naming: Naming
) -> list[LayerNode]:
    """Return layers whose weights and biases have the names of the written file."""
    tensors = tensors_by_parameter(naming)

    def name(value: str) -> str:
        view = model.view(value)
        return written_name(naming, tensors, view, model.parameters[view.parameter].shape)

    layers = [layer_node.layer for layer_node in layer_nodes]
    return [
        replace(
            layer_node,
            layer=replace(
                layer,
                weight_name=name(layer.weight_value),
                bias_name=name(layer.bias_value) if layer.bias_value else None,
                scaled_parts=tuple(
                    replace(part, name=name(part.value)) for part in layer.scaled_parts
                ),
            ),
        )
        for layer_node, layer in zip(layer_nodes, layers, strict=True)
    ]


def with_layer_names(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    naming: Naming,
    names: str,
    *,
    names_are_own: bool,
) -> list[LayerNode]:
    """Return layers that are called as in the framework; see `Exporter.layer_names`.

    Args:
        model: the model.
        layer_nodes: its layers, with the names under which their weights are written.
        naming: the written tensors.
        names: what the user asked for, a word of `names_words`.
        names_are_own: whether the tensors have the framework's names.
    """
    exporter = chosen_exporter(model.skeleton, names)
    if exporter is None:
        return list(layer_nodes)
    found = exporter.layer_names(model, layer_nodes, naming, names_are_own=names_are_own)
    return [
        replace(layer_node, layer=replace(layer_node.layer, name=name))
        for layer_node, name in zip(layer_nodes, found, strict=True)
    ]
