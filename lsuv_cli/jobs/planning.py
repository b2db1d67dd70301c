"""Plan a model: find its layers, decide what is done with each, and name what is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lsuv_cli.core.choices import BatchNorm, Bias, Per
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Events
from lsuv_cli.core.planning import idle_globs, plan_layers
from lsuv_cli.core.records import Plan
from lsuv_cli.engine.channel_axes import with_channel_axes
from lsuv_cli.graph.nodes import node_name
from lsuv_cli.graph.topology import operators_used
from lsuv_cli.graph.written_tensors import Naming, tensors_by_parameter
from lsuv_cli.jobs.naming import has_framework_names, name_tensors
from lsuv_cli.jobs.opening import OpenedInputs
from lsuv_cli.layers.find import find_layers
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.left_alone import in_words, layers_left_alone, never_read
from lsuv_cli.layers.norms import NormNode, batch_norms
from lsuv_cli.layers.quantised import refuse_quantised
from lsuv_cli.names.exporter import some_of
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.runtime.session import unknown_operators


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """Plan of a model's layers and of the written tensors, made without samples.

    Attributes:
        layer_nodes: its layers, in execution order, with their written names.
        naming: the tensors of a file with its weights.
        others: values of those of them that are no parameters of the graph.
        left_alone: what looks like a layer but is left as it is, as `name (operator): reason`.
        layers: what is done with each layer.
        norms: batch normalisations that are to use the samples' statistics.
    """

    layer_nodes: Sequence[LayerNode]
    naming: Naming
    others: Mapping[str, NDArray[Any]]
    left_alone: Sequence[str]
    layers: Plan
    norms: Sequence[NormNode]


def plan_model(
    inputs: OpenedInputs, *, names_required: bool = False, noted: Collection[str] = ()
) -> ModelPlan:
    """Find a model's layers and decide what is done with each.

    Args:
        inputs: the opened model, and the options.
        names_required: whether a file of weights under other names than the framework's is of no
            use; see `choose_names`.
        noted: the fields of the options whose globs come from a file of weights, and may match
            nothing in another file of the same model.

    Raises:
        LsuvError: there are no layers, the model can't be run or initialised, or the options do not
            fit it.
    """
    _refuse_unknown_operators(inputs.model)
    refuse_quantised(inputs.model)
    found = find_layers(inputs.model)
    if inputs.separated is not None and not has_framework_names(inputs, found):
        inputs.keep_ties()
        found = find_layers(inputs.model)
    model = inputs.model
    if inputs.options.per is Per.CHANNEL:
        found = with_channel_axes(model, found)
    named = name_tensors(inputs, found, required=names_required)
    layer_nodes = named.layer_nodes
    left_alone = [*layers_left_alone(model), *never_read(named.naming)]
    if not layer_nodes:
        raise ModelError(_nothing_to_initialise(model, left_alone))
    if left_alone:
        inputs.events.warn(f"these are left as they are: {in_words(left_alone)}")
    unusable = [one.unusable for one in layer_nodes]
    _warn_of_strange_globs(layer_nodes, inputs, noted)
    layers = plan_layers([one.layer for one in layer_nodes], unusable, inputs.options, noted)
    _warn_of_computed_biases(layers, inputs.events)
    norms = _plan_norms(inputs, named.naming) if inputs.options.bn is BatchNorm.BATCH else []
    return ModelPlan(layer_nodes, named.naming, named.others, left_alone, layers, norms)


def _nothing_to_initialise(model: OnnxModel, left_alone: Sequence[str]) -> str:
    if left_alone:
        return f"{model.path} has no layer that can be initialised: {in_words(left_alone)}"
    return (
        f"{model.path} has no convolution or fully connected layer with a constant weight, "
        "so there is nothing to initialise"
    )


def _plan_norms(inputs: OpenedInputs, naming: Naming) -> list[NormNode]:
    """Return the batch normalisations that get the samples' statistics; tell which don't."""
    norms, kept = batch_norms(inputs.model, tensors_by_parameter(naming))
    if kept:
        names = some_of([node_name(norm.node) for norm in kept])
        inputs.events.warn(
            "--bn batch: these use their running statistics, for they share them or the written "
            f"file has no place for others: {names}"
        )
    return norms


def _warn_of_strange_globs(
    layer_nodes: Sequence[LayerNode], inputs: OpenedInputs, noted: Collection[str]
) -> None:
    """Warn of globs from a file of weights that match no layer of this model."""
    layers = [one.layer for one in layer_nodes]
    idle = [
        f"{option} {glob}"
        for field, option, glob in idle_globs(layers, inputs.options)
        if field in noted
    ]
    if idle:
        inputs.events.warn(
            f"the weights were made with {', '.join(idle)}, which matches no layer of this file of "
            "the model; give the name that the layer has here"
        )


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


def _refuse_unknown_operators(model: OnnxModel) -> None:
    unknown = unknown_operators(operators_used(model.nodes, model.skeleton.functions))
    if unknown:
        raise ModelError(
            f"{model.path} uses operators that this ONNX Runtime does not know: "
            f"{', '.join(unknown)}; export it with operators of a released opset"
        )
