"""The names of a written file's tensors: an exporter's framework's, or the ONNX file's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lsuv_cli.core.choices import AUTO_NAMES
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Events
from lsuv_cli.graph.fixed import IS_CONSTANT
from lsuv_cli.graph.written_tensors import (
    Naming,
    onnx_names,
    tensors_by_parameter,
    written_name,
)
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.names.exporter import Shapes, some_of
from lsuv_cli.names.exporters import exporter_called, exporter_of
from lsuv_cli.reading.model import OnnxModel


def choose_names(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    names: str,
    events: Events,
    like: Shapes | None = None,
) -> Naming:
    """Name the written file's tensors, and tell the user where they are not the ONNX file's.

    Args:
        model: the model.
        layer_nodes: its layers.
        names: what the user asked for, a word of `names_words`.
        events: receives notes and warnings about the choice.
        like: names and shapes of the checkpoint that the written file is for, if given.

    Raises:
        ModelError: a framework's names were asked for and can't be recovered.
    """
    parameters = model.written(used_values(layer_nodes))
    is_auto = names == AUTO_NAMES
    exporter = exporter_of(model.skeleton) if is_auto else exporter_called(names)
    if exporter is None:
        return onnx_names(parameters)
    framework = exporter.framework
    possessive = f"{framework}'" if framework.endswith("s") else f"{framework}'s"
    recovered = exporter.recover(model, layer_nodes, parameters, like)
    reasons = "; ".join(recovered.reasons)
    if reasons and not is_auto:
        raise ModelError(f"can't recover {possessive} names from {model.path}: {reasons}")
    if reasons:
        events.warn(f"the written names are the ONNX file's, not {possessive}: {reasons}")
        return onnx_names(parameters)
    naming = recovered.naming
    new = [name for name, tensor in naming.items() if tensor.parameter not in ("", name)]
    if new:
        events.note(f"recovered {len(new)} {framework} names ({some_of(new)})")
    written = {tensor.parameter for tensor in naming.values()}
    left_out = [
        f"{name} {list(info.shape)}"
        for name, info in parameters.items()
        if name not in written
        and math.prod(info.shape) > 1
        and model.fixed.get(name) != IS_CONSTANT
    ]
    if left_out:
        events.warn(
            f"not written, because they have no name in {framework}: {some_of(left_out)}"
            f"{recovered.advice}"
        )
    return naming


def used_values(layer_nodes: Sequence[LayerNode]) -> list[str]:
    """Return the graph values that layers use as weight or bias."""
    return [
        name
        for layer_node in layer_nodes
        for name in (
            layer_node.layer.weight_value,
            layer_node.layer.bias_value,
            *(part.value for part in layer_node.layer.scaled_parts),
            *layer_node.layer.computed_bias,
        )
        if name
    ]


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
