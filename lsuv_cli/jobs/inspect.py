"""`lsuv inspect`: a model's layers, and what would be done with them; no samples are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

from lsuv_cli import __version__
from lsuv_cli.core.batches import PlannedBatches, cut_counts, declared_batch, zeros
from lsuv_cli.core.choices import ONNX_NAMES
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import SingleProcess
from lsuv_cli.core.inspection import InspectedInput, InspectedLayer, Inspection, PlannedRun
from lsuv_cli.core.journal import NoJournal
from lsuv_cli.core.options import InspectOptions
from lsuv_cli.core.records import Feeds, InputSpec, PlannedLayer
from lsuv_cli.engine.branches import unroll_without_samples
from lsuv_cli.engine.sweep import Sweeper
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.jobs.broken_models import explaining_broken_models
from lsuv_cli.jobs.handmade import warn_of_handmade
from lsuv_cli.jobs.opening import OpenedInputs, OpenModel, device_of, open_named
from lsuv_cli.jobs.planning import ModelPlan, plan_model
from lsuv_cli.jobs.preparing import divide_memory, make_setup
from lsuv_cli.jobs.storing import refuse_missing_folder, spill_file
from lsuv_cli.memory.budget import predict
from lsuv_cli.passes.hoist import hoist_constants
from lsuv_cli.reading.formats import format_of
from lsuv_cli.reading.model_format import EXAMPLES
from lsuv_cli.runtime.store import ValueStore
from lsuv_cli.samples.fed_inputs import fed_inputs
from lsuv_cli.samples.input_description import describe_feed
from lsuv_cli.samples.open_samples import open_samples


def inspect_model(
    options: InspectOptions, events: Events, open_model: OpenModel = open_named
) -> Inspection:
    """Read a model and find its layers.

    Args:
        options: what the user asked for.
        events: receives warnings.
        open_model: opens the model.

    Raises:
        LsuvError: the model can't be used, or an option does not fit it.
    """
    refuse_missing_folder(options.spill_dir)
    device = device_of(options, events.detail)
    with explaining_broken_models(options.model, options.content), ExitStack() as stack:
        inputs = OpenedInputs(
            options, events, SingleProcess(), device, open_samples, open_model, stack
        )
        events.stage("reading the model")
        source, undecided = _read_without_samples(options, inputs)
        plan = plan_model(inputs)
        warn_of_handmade(inputs, plan)
        model = inputs.model
        specs = fed_inputs(model.inputs, options.samples).specs
        run = _plan_run(options, inputs, plan, specs) if options.plan else None
    return Inspection(
        version=__version__,
        model=str(options.model),
        model_sha256=model.sha256,
        opset=model.opset,
        producer=source.producer,
        nodes=len(model.nodes),
        parameters=sum(math.prod(stored.info.shape) for stored in plan.naming.values()),
        inputs=tuple(InspectedInput(spec, describe_feed(spec)) for spec in specs),
        layers=tuple(
            InspectedLayer(
                one,
                one.layer.original_weight_name,
                _sharing(one, plan.layers.layers),
                undecided=not undecided.isdisjoint(layer_node.node.output),
            )
            for one, layer_node in zip(plan.layers.layers, plan.layer_nodes, strict=True)
        ),
        left_alone=tuple(plan.left_alone),
        plan=run,
    )


def _read_without_samples(
    options: InspectOptions, inputs: OpenedInputs
) -> tuple[ModelSource, frozenset[str]]:
    """Read the model, with zeros in place of samples where it can't be read without.

    Returns:
        The file, of which `inputs` has got its model; and the values of that of which only samples
        tell whether and how often they are made.

    Raises:
        LsuvError: the model can't be used, or does not tell its inputs' shapes.
    """
    file = inputs.open_model(options)
    examples = _zeros(options, file.example_inputs) if file.example_inputs else {}
    source = inputs.convert(file, examples)
    unrolled = unroll_without_samples(hoist_constants(source))
    inputs.keeps_ties = file.state is None and options.names == ONNX_NAMES
    inputs.set_model(unrolled.source)
    return source, unrolled.undecided


def _zeros(options: InspectOptions, inputs: Sequence[InputSpec]) -> Feeds:
    """Return examples of inputs whose shapes only the user can tell."""
    specs = fed_inputs(inputs, options.samples).specs
    missing = [spec.name for spec in specs if spec.shape is None]
    if missing:
        name = format_of(options.model, options.content).name
        raise UsageError(
            f"{options.model} is {name}, which does not record its inputs' shapes; give "
            + " ".join(f"--input-shape {name}:SIZES" for name in missing)
            + ", as 3,224,224"
        )
    return zeros(specs, EXAMPLES).feeds(0)


def _sharing(planned: PlannedLayer, layers: Sequence[PlannedLayer]) -> tuple[str, ...]:
    """Return the names of the other layers that use elements of a layer's weight."""
    shared = planned.layer.weight_values
    return tuple(
        other.layer.name
        for other in layers
        if other is not planned and other.layer.weight_value in shared
    )


def _plan_run(
    options: InspectOptions,
    inputs: OpenedInputs,
    plan: ModelPlan,
    specs: Sequence[InputSpec],
) -> PlannedRun:
    """Predict what `lsuv init` would take with so many samples."""
    count = options.samples.count
    if count is None:
        raise UsageError("--plan needs the number of samples: give --samples a number")
    model, weights = inputs.model, inputs.weights
    _refuse_open_sizes(specs)
    declared = declared_batch(specs)
    example = zeros(specs, declared or 1)
    budget = divide_memory(inputs, plan, example)
    size = declared or min(count, options.batch_size or budget.batch_size(count))
    counts = [one for one in cut_counts(count, size) if declared in (None, one)]
    if not counts:
        raise UsageError(
            f"--plan: the model takes exactly {declared} samples at a time, as its file declares; "
            f"give --samples {declared} or more"
        )
    batches = PlannedBatches(counts, example.specs, declared)
    spill = spill_file(options.spill_dir)
    if spill is not None:
        inputs.stack.callback(spill.close)
    store = ValueStore(budget.live_bytes, spill, budget.device_live_bytes)
    setup = make_setup(inputs, plan, batches, store, NoJournal())
    segments = Sweeper(setup, weights, lambda _done, _total: None).segments
    prediction = predict(budget, segments, batches.counts, store.free_bytes)
    return PlannedRun(
        samples=batches.total,
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


def _refuse_open_sizes(specs: Sequence[InputSpec]) -> None:
    """Refuse inputs of which a size is left open.

    Raises:
        UsageError: one is.
    """
    for spec in specs:
        if spec.sample_shape is None or None in spec.sample_shape:
            raise UsageError(
                f"--plan: the model leaves sizes of its input {spec.describe()} open; give "
                f"--input-shape {spec.name}:SIZES"
            )
