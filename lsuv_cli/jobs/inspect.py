"""Say what a model's layers are and what would be done with them; no samples are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from lsuv_cli import __version__
from lsuv_cli.core.batches import PlannedBatches, SampleShapes
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import SingleProcess
from lsuv_cli.core.inspection import InspectedInput, InspectedLayer, Inspection, PlannedRun
from lsuv_cli.core.journal import NoJournal
from lsuv_cli.core.options import InspectOptions
from lsuv_cli.core.records import InputSpec, Plan, PlannedLayer
from lsuv_cli.engine.sweep import Sweeper
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.jobs.opening import Given, device_of
from lsuv_cli.jobs.preparing import Layers, divide_memory, find_planned_layers, setup_of
from lsuv_cli.jobs.storing import refuse_missing_folder, spill_file
from lsuv_cli.memory.budget import predict
from lsuv_cli.passes.hoist import hoist_constants
from lsuv_cli.reading.formats import open_model_file
from lsuv_cli.reading.model import OnnxModel, model_of
from lsuv_cli.reading.model_format import EXAMPLES
from lsuv_cli.runtime.store import ValueStore
from lsuv_cli.samples.input_description import describe_feed
from lsuv_cli.samples.input_shapes import with_shapes
from lsuv_cli.samples.open_samples import open_samples


def inspect_model(options: InspectOptions, events: Events) -> Inspection:
    """Read a model and find its layers.

    Args:
        options: what the user asked for.
        events: told what is worth knowing.

    Raises:
        LsuvError: the model can't be used, or an option does not fit it.
    """
    refuse_missing_folder(options.spill_dir)
    device = device_of(options, events.detail)
    with ExitStack() as stack:
        given = Given(options, SingleProcess(), device, events, stack, open_samples)
        events.stage("reading the model")
        given, source = _source(given, options)
        model, weights = model_of(hoist_constants(source))
        layers = find_planned_layers(given, model, weights)
        specs = with_shapes(model.inputs, options.samples.input_shapes)
        plan = _planned_run(given, options, model, weights, layers, specs) if options.plan else None
    return Inspection(
        version=__version__,
        model=str(options.model),
        model_sha256=model.sha256,
        opset=model.opset,
        producer=source.producer,
        nodes=len(model.nodes),
        parameters=sum(math.prod(stored.info.shape) for stored in layers.naming.values()),
        inputs=tuple(InspectedInput(spec, describe_feed(spec)) for spec in specs),
        layers=tuple(_inspected(layers)),
        left_alone=tuple(layers.left_alone),
        plan=plan,
    )


def _source(given: Given, options: InspectOptions) -> tuple[Given, ModelSource]:
    """The model as ONNX."""
    file = open_model_file(options.model, options.content)
    if not file.example_inputs:
        return given, file.source({})
    specs = with_shapes(file.example_inputs, options.samples.input_shapes)
    missing = [spec.name for spec in specs if spec.shape is None]
    if missing:
        raise UsageError(
            f"{options.model} is TorchScript, which does not tell the shapes of its inputs; give "
            + " ".join(f"--input-shape {name}:SIZES" for name in missing)
            + ", as 3,224,224"
        )
    given.events.stage("converting to ONNX")
    feeds = {
        spec.name: np.zeros((EXAMPLES, *(size or 1 for size in (spec.shape or ())[1:])), np.float32)
        for spec in specs
    }
    return replace(given, state=file.state), file.source(feeds)


def _inspected(layers: Layers) -> list[InspectedLayer]:
    return [
        InspectedLayer(planned, planned.layer.original_weight_name, _sharing(planned, layers.plan))
        for planned in layers.plan.layers
    ]


def _sharing(planned: PlannedLayer, plan: Plan) -> tuple[str, ...]:
    """Return the names of the other layers that use elements of a layer's weight."""
    shared = planned.layer.weight_values
    return tuple(
        other.layer.name
        for other in plan.layers
        if other is not planned and other.layer.weight_value in shared
    )


def _planned_run(
    given: Given,
    options: InspectOptions,
    model: OnnxModel,
    weights: Parameters,
    layers: Layers,
    specs: Sequence[InputSpec],
) -> PlannedRun:
    """What `lsuv init` would take with so many samples."""
    count = options.samples.count
    if count is None:
        raise UsageError("--plan wants to know how many samples: give --samples a number")
    shapes = _shapes(specs)
    zeros = {name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in shapes.items()}
    budget = divide_memory(given, model, weights, layers, zeros)
    size = min(count, options.batch_size or budget.batch_size(count))
    batches = PlannedBatches(count, size, shapes)
    spill = spill_file(options.spill_dir)
    if spill is not None:
        given.stack.callback(spill.close)
    store = ValueStore(budget.live_bytes, spill, budget.device_live_bytes)
    setup = setup_of(given, model, layers, batches, store, NoJournal())
    segments = Sweeper(setup, weights, lambda _done, _total: None).segments
    prediction = predict(budget, segments, batches.counts, store.free_bytes)
    return PlannedRun(
        samples=count,
        batch_size=size,
        segments=prediction.segments,
        working_bytes=prediction.working_bytes,
        kept_bytes=prediction.kept_bytes,
        spilled_bytes=prediction.spilled_bytes,
        executions=prediction.executions,
        repeated=prediction.repeated,
        weight_bytes=max(
            sum(model.parameters[name].nbytes for name in segment.parameters)
            for segment in segments
        ),
        text=prediction.sentence(),
    )


def _shapes(specs: Sequence[InputSpec]) -> SampleShapes:
    """What a sample is, for each input.

    Raises:
        UsageError: a size is left open.
    """
    shapes: dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]] = {}
    for spec in specs:
        sizes = (spec.shape or (None, None))[1:]
        known = tuple(size for size in sizes if size is not None)
        if len(known) < len(sizes):
            raise UsageError(
                f"--plan: the model leaves sizes of its input {spec.describe()} open; give "
                f"--input-shape {spec.name}:SIZES"
            )
        shapes[spec.name] = known, np.dtype(spec.dtype or "float32")
    return shapes
