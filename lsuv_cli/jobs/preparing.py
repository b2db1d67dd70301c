"""What jobs with samples have in common: layers, names, the plan, and the memory's division."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from numpy.typing import NDArray

from lsuv_cli import __version__
from lsuv_cli.core.batches import Batches
from lsuv_cli.core.choices import BatchNorm, Status
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Events
from lsuv_cli.core.journal import Journal
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.planning import plan_layers
from lsuv_cli.core.records import Feeds, Plan
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.graph.topology import operators_used
from lsuv_cli.graph.written_tensors import Naming
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.jobs.loading import Loaded
from lsuv_cli.jobs.opening import Given
from lsuv_cli.jobs.storing import open_store, refuse_different
from lsuv_cli.layers.find import find_layers
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.left_alone import layers_left_alone
from lsuv_cli.layers.norms import batch_norms
from lsuv_cli.layers.quantised import refuse_quantised
from lsuv_cli.memory.budget import Budget, tell_plan
from lsuv_cli.memory.trial import memory_use
from lsuv_cli.names.choose import choose_names, with_written_names
from lsuv_cli.names.exporter import some_of
from lsuv_cli.names.exporters import exporter_of
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.reading.model_format import ModelState
from lsuv_cli.runtime.session import unknown_operators
from lsuv_cli.runtime.store import ValueStore
from lsuv_cli.weights.checkpoint_shapes import read_shapes, refuse_different_shapes


@dataclass(frozen=True, slots=True)
class Layers:
    """What is known of a model before samples are read.

    Attributes:
        layer_nodes: its layers, in execution order.
        naming: the tensors of a file with its weights.
        others: values of those of them that are no parameter in the graph.
        left_alone: what looks like a layer but is left as it is, as `name (operator)`.
        plan: what is done with each layer.
    """

    layer_nodes: Sequence[LayerNode]
    naming: Naming
    others: Mapping[str, NDArray[Any]]
    left_alone: Sequence[str]
    plan: Plan


def find_planned_layers(given: Given, model: OnnxModel, weights: Parameters) -> Layers:
    """Find a model's layers and decide what is done with each.

    Raises:
        LsuvError: there are none, or not what the options ask for.
    """
    options, events = given.options, given.events
    layer_nodes, naming, others = named_layers(model, weights, given.state, options, events)
    if not layer_nodes:
        raise ModelError(
            f"{model.path} has no convolution or fully connected layer with a constant weight, "
            "so there is nothing to initialise"
        )
    left_alone = layers_left_alone(model)
    if left_alone:
        events.warn(f"these are left as they are: {', '.join(left_alone)}")
    unusable = [_unusable(layer_node) for layer_node in layer_nodes]
    plan = plan_layers([layer_node.layer for layer_node in layer_nodes], unusable, options)
    return Layers(layer_nodes, naming, others, left_alone, plan)


def named_layers(
    model: OnnxModel,
    weights: Parameters,
    state: ModelState | None,
    options: WorkOptions,
    events: Events,
) -> tuple[list[LayerNode], Naming, Mapping[str, NDArray[Any]]]:
    """The layers, the written names, and the values of what is written but no parameter here.

    Raises:
        LsuvError: the model has what can't be run or initialised, or the names can't be had.
    """
    _check_operators(model)
    refuse_quantised(model)
    layer_nodes = find_layers(model)
    others: Mapping[str, NDArray[Any]] = {}
    like = None if options.like is None else read_shapes(options.like)
    if state is None:
        naming = choose_names(model, layer_nodes, options.names, events, like)
    else:
        naming, others = state.naming(model, weights)
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


def _check_operators(model: OnnxModel) -> None:
    unknown = unknown_operators(operators_used(model.nodes, model.skeleton.functions))
    if unknown:
        raise ModelError(
            f"{model.path} uses operators that this ONNX Runtime does not know: "
            f"{', '.join(unknown)}; export it with operators of a released opset"
        )


def _unusable(layer_node: LayerNode) -> tuple[str, Status] | None:
    """Why a layer can't be initialised, whatever the options say."""
    if not layer_node.takes_data:
        return "no data reaches it", Status.UNREACHABLE
    return None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model whose samples have been read.

    Attributes:
        given: what the user gave.
        model: the model.
        layers: its layers.
        loaded: the samples.
        budget: how the memory is divided.
        settings: the options that decide the numbers, by name.
    """

    given: Given
    model: OnnxModel
    layers: Layers
    loaded: Loaded
    budget: Budget
    settings: Mapping[str, object]

    def about(self, more: Mapping[str, object]) -> dict[str, object]:
        """What tells this run from another."""
        return {
            "version": __version__,
            "model": self.model.sha256,
            "settings": self.settings,
            # The draws of weights depend on them.
            "names": [planned.layer.weight_name for planned in self.layers.plan.layers],
            "processes": self.given.group.size,
            "device": self.given.device.label,
            **more,
        }

    @contextmanager
    def opened_setup(self, more: Mapping[str, object]) -> Iterator[Setup]:
        """Open what holds values between segments; with it there is all that the engine needs.

        Args:
            more: what else tells this run from another.

        Raises:
            LsuvError: the processes differ, or there is no room.
        """
        given, batches = self.given, self.loaded.batches
        about = self.about(more)
        # Where samples or a resume journal are may differ from machine to machine.
        alike = {"samples": batches.available, "resume": given.options.resume is not None}
        refuse_different({**about, **alike}, given.group)
        stored = open_store(given.options, given.group, self.budget, batches, about, given.events)
        with stored as (store, journal):
            yield setup_of(given, self.model, self.layers, batches, store, journal)

    def tell_plan(self, setup: Setup, segments: Sequence[Segment]) -> None:
        """Say what a sweep through some segments is going to take, before it does."""
        counts, free_bytes = setup.batches.counts, setup.store.free_bytes
        tell_plan(self.budget, counts, free_bytes, self.given.events, segments)


def setup_of(
    given: Given,
    model: OnnxModel,
    layers: Layers,
    batches: Batches,
    store: ValueStore,
    journal: Journal,
) -> Setup:
    """All that the engine needs.

    Args:
        given: what the user gave.
        model: the model.
        layers: its layers.
        batches: the samples.
        store: where batches are kept between segments.
        journal: what has been measured before.
    """
    options = given.options
    return Setup(
        model,
        layers.layer_nodes,
        layers.plan,
        batch_norms(model) if options.bn is BatchNorm.BATCH else [],
        batches,
        given.group,
        store,
        given.device,
        options.max_segment_bytes,
        journal,
    )


def divide_memory(
    given: Given, model: OnnxModel, weights: Parameters, layers: Layers, samples: Feeds
) -> Budget:
    """Try the model on a few samples, and divide the memory that the user allows."""
    options = given.options
    on_device = options.device_memory_bytes if given.device.memory else None
    use = memory_use(
        model,
        layers.layer_nodes,
        weights,
        samples,
        options.threads,
        options.max_segment_bytes,
        options.memory_bytes,
    )
    return Budget(use.agreed(given.group), options.memory_bytes, on_device)


def prepare(given: Given, model: OnnxModel, weights: Parameters, layers: Layers) -> Prepared:
    """Read the samples, if that has not been done, and divide the memory.

    Raises:
        LsuvError: the samples can't be used.
    """
    budget_of = partial(divide_memory, given, model, weights, layers)
    loaded = given.loaded or given.load(model.inputs, budget_of)
    budget = loaded.fit(budget_of)
    batches = loaded.batches
    settings = given.options.settings(batches.total, batches.batch_size)
    given = replace(given, loaded=loaded)
    return Prepared(given, model, layers, loaded, budget, settings)
