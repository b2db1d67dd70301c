"""Plan a model: find its layers, decide what is done with each, and name what is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lsuv_cli.core.choices import Bias, Per
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Events
from lsuv_cli.core.planning import plan_layers
from lsuv_cli.core.records import Plan
from lsuv_cli.engine.channel_axes import with_channel_axes
from lsuv_cli.graph.topology import operators_used
from lsuv_cli.graph.written_tensors import Naming
from lsuv_cli.jobs.opening import OpenedInputs
from lsuv_cli.layers.find import find_layers
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.left_alone import layers_left_alone
from lsuv_cli.layers.quantised import refuse_quantised
from lsuv_cli.names.choose import choose_names, with_written_names
from lsuv_cli.names.exporter import some_of
from lsuv_cli.names.exporters import exporter_of
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.runtime.session import unknown_operators
from lsuv_cli.weights.checkpoint_shapes import read_shapes, refuse_different_shapes


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """Plan of a model's layers and of the written tensors, made without samples.

    Attributes:
        layer_nodes: its layers, in execution order, with their written names.
        naming: the tensors of a file with its weights.
        others: values of those of them that are no parameters of the graph.
        left_alone: what looks like a layer but is left as it is, as `name (operator): reason`.
        layers: what is done with each layer.
    """

    layer_nodes: Sequence[LayerNode]
    naming: Naming
    others: Mapping[str, NDArray[Any]]
    left_alone: Sequence[str]
    layers: Plan


def plan_model(inputs: OpenedInputs) -> ModelPlan:
    """Find a model's layers and decide what is done with each.

    Args:
        inputs: the opened model, and the options.

    Raises:
        LsuvError: there are no layers, the model can't be run or initialised, or the options do not
            fit it.
    """
    model = inputs.model
    _refuse_unknown_operators(model)
    refuse_quantised(model)
    found = find_layers(model)
    if inputs.options.per is Per.CHANNEL:
        found = with_channel_axes(model, found)
    layer_nodes, naming, others = _name_layers(inputs, found)
    if not layer_nodes:
        raise ModelError(
            f"{model.path} has no convolution or fully connected layer with a constant weight, "
            "so there is nothing to initialise"
        )
    left_alone = layers_left_alone(model)
    if left_alone:
        inputs.events.warn(f"these are left as they are: {'; '.join(left_alone)}")
    unusable = [one.unusable for one in layer_nodes]
    layers = plan_layers([one.layer for one in layer_nodes], unusable, inputs.options)
    _warn_of_computed_biases(layers, inputs.events)
    return ModelPlan(layer_nodes, naming, others, left_alone, layers)


def _warn_of_computed_biases(plan: Plan, events: Events) -> None:
    """Warn of biases that are to be kept, and are not counted in their layers' outputs."""
    kept = [
        one.layer.name
        for one in plan.layers
        if one.layer.computed_bias and one.bias is Bias.KEEP and one.skipped is None
    ]
    if kept:
        events.warn(
            f"--bias keep: these have a bias that is computed from parameters, and are scaled to "
            f"their target without it: {some_of(kept)}"
        )


def _name_layers(
    inputs: OpenedInputs, layer_nodes: list[LayerNode]
) -> tuple[list[LayerNode], Naming, Mapping[str, NDArray[Any]]]:
    """Choose the names of the written tensors.

    Returns:
        The layers with these names, the tensors, and the values of those that are no parameters of
        the graph.

    Raises:
        LsuvError: the names that were asked for are not known, or don't fit the file of --like.
    """
    model, options, events = inputs.model, inputs.options, inputs.events
    others: Mapping[str, NDArray[Any]] = {}
    like = None if options.like is None else read_shapes(options.like)
    if inputs.state is None:
        naming = choose_names(model, layer_nodes, options.names, events, like)
    else:
        naming, others = inputs.state.naming(model, inputs.weights)
    if options.like is not None and like is not None:
        shapes = {name: stored.info.shape for name, stored in naming.items()}
        missing = sorted(like.keys() - shapes.keys())
        exporter = exporter_of(model.skeleton)
        omission = "" if exporter is None else exporter.omission
        if omission and missing and shapes.keys() <= like.keys():
            events.warn(f"{omission}: {some_of(missing)}")
            like = {name: like[name] for name in shapes}
        refuse_different_shapes(shapes, like, options.like)
    return with_written_names(model, layer_nodes, naming), naming, others


def _refuse_unknown_operators(model: OnnxModel) -> None:
    unknown = unknown_operators(operators_used(model.nodes, model.skeleton.functions))
    if unknown:
        raise ModelError(
            f"{model.path} uses operators that this ONNX Runtime does not know: "
            f"{', '.join(unknown)}; export it with operators of a released opset"
        )
