"""The main job, from top to bottom."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lsuv_cli import __version__
from lsuv_cli.budget import Budget, tell_plan
from lsuv_cli.control import along, common_way
from lsuv_cli.core.batches import Shapes
from lsuv_cli.core.choices import BatchNorm, Status
from lsuv_cli.core.errors import ModelError, UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Alone, Group
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import InitOptions
from lsuv_cli.core.planning import plan_layers
from lsuv_cli.core.records import InputSpec, Plan, Report
from lsuv_cli.engine import Work, measure
from lsuv_cli.iteration import sweep_until_settled
from lsuv_cli.loading import Loaded
from lsuv_cli.model.control_flow import Decisions, controlling_nodes
from lsuv_cli.model.hoisting import constants_outside
from lsuv_cli.model.layers import LayerSite, find_layers, layers_left_alone
from lsuv_cli.model.names import renamed
from lsuv_cli.model.norms import batch_norms
from lsuv_cli.model.onnx_file import ModelSource, read_source
from lsuv_cli.model.onnx_model import OnnxModel, model_of
from lsuv_cli.model.parameters import Parameters, Sources
from lsuv_cli.model.quantised import refuse_quantised
from lsuv_cli.model.stored import Naming
from lsuv_cli.model.topology import operators_used
from lsuv_cli.model.torchscript import TorchScript, is_torch_file
from lsuv_cli.naming import choose_names, some_of
from lsuv_cli.storing import open_store, refuse_different
from lsuv_cli.sweep.session import Device, select_device, unknown_operators
from lsuv_cli.weights.checkpoint import compare_shapes, read_shapes
from lsuv_cli.weights.output import check_output, refuse_overwriting, replacing_file
from lsuv_cli.weights.shards import Layout, check_layout, plan_shards
from lsuv_cli.writing import WeightsFile, header_texts, writing_weights

# New weights may lead the samples another way, where others are drawn, and so on; but hardly often.
MAX_WAYS = 10


class _WayChangedError(Exception):
    """With the new weights the samples go another way through the model.

    Attributes:
        decisions: that way.
    """

    def __init__(self, decisions: Sequence[Decisions]) -> None:
        super().__init__()
        self.decisions = decisions


def initialize(options: InitOptions, events: Events, group: Group | None = None) -> Report:
    """Initialise a model's weights by LSUV and write them.

    Args:
        options: what the user asked for.
        events: told how the work goes.
        group: the processes that share the samples; None for this one alone.

    Raises:
        LsuvError: what the user can mend; nothing is left behind.
    """
    group = group or Alone()
    with ExitStack() as stack:
        if not group.is_first:
            # The first process writes; the others need their weights only as long as they work.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lsuv-"))
            options = replace(options, out=Path(folder, "out.safetensors"), out_model=None)
        _check_outputs(options)
        device = select_device(
            options.device, options.provider, options.threads, events.note, options.local_rank
        )
        given = _Given(options, group, device, events, stack)
        return _opened(given)


def _opened(given: _Given) -> Report:
    """Read the model, and whatever of the samples that takes."""
    options, events = given.options, given.events
    events.stage("reading the model")
    if is_torch_file(options.model):
        # It does not tell its inputs' shapes, and the exporter wants to see them.
        script = TorchScript(options.model)
        loaded = given.load(script.inputs)
        given = replace(given, script=script, loaded=loaded)
        events.stage("converting to ONNX")
        source = script.convert(loaded.batches.example())
    else:
        source = read_source(options.model)
    source = constants_outside(source)
    if not controlling_nodes(source):
        model, weights = model_of(source)
        # It holds the file's weights, which need not stay in memory once others are drawn.
        del source
        return _initialize(given, model, weights)
    if options.checkpoint is not None:
        raise UsageError(
            f"--checkpoint: {options.model} has If, Loop or Scan with layers inside, and which of "
            "these the samples meet may change; leave the option out"
        )
    # Which layers the samples meet is only known once they are there.
    loaded = given.loaded or given.load(model_of(source)[0].inputs)
    return _along_the_way(replace(given, loaded=loaded, source=source), source, loaded)


def _along_the_way(given: _Given, source: ModelSource, loaded: Loaded) -> Report:
    """Initialise the layers that the samples meet in a model with If, Loop or Scan."""
    given.events.stage("following the samples through If, Loop and Scan")
    decisions: Sequence[Decisions] = given.way(source, {}, loaded)
    for _ in range(MAX_WAYS):
        model, weights = model_of(along(source, decisions))
        try:
            return _initialize(replace(given, decisions=decisions), model, weights)
        except _WayChangedError as changed:
            given.events.note(
                "with the new weights the samples take another branch; starting again"
            )
            decisions = changed.decisions
    raise ModelError(
        f"{given.options.model}: which branches the samples take changes with every "
        "initialisation, so that their layers can't be measured; export the model with one of them"
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """What the user gave, opened.

    Attributes:
        options: what the user asked for.
        group: the processes that share the samples.
        device: where sessions run.
        events: told how the work goes.
        stack: closes what must be closed in the end.
        script: the TorchScript file; None for ONNX.
        loaded: the samples, if they have been read.
        source: the model as it was before its bodies were written out; None where they were not.
        decisions: along which way that was done.
    """

    options: InitOptions
    group: Group
    device: Device
    events: Events
    stack: ExitStack
    script: TorchScript | None = None
    loaded: Loaded | None = None
    source: ModelSource | None = None
    decisions: Sequence[Decisions] = ()

    def load(
        self, inputs: Sequence[InputSpec], budget_of: Callable[[Shapes], Budget] | None = None
    ) -> Loaded:
        """Read the samples."""
        loaded = Loaded(inputs, self.options, self.group, self.events, budget_of)
        self.stack.callback(loaded.batches.close)
        return loaded

    def way(self, source: ModelSource, weights: Sources, loaded: Loaded) -> list[Decisions]:
        """Which way the samples go through a model's If, Loop and Scan."""
        most = self.options.max_segment_bytes
        return common_way(source, weights, loaded.batches, self.group, self.device, most)


def _initialize(given: _Given, model: OnnxModel, weights: Parameters) -> Report:
    """Initialise a model whose layers all stand in the main graph."""
    options, events = given.options, given.events
    sites, naming, others = _layers(model, weights, given.script, options, events)
    layout = _layout(model, naming, options)
    left_alone = layers_left_alone(model)
    plan = _plan(model, sites, left_alone, options, events)

    def budget_of(shapes: Shapes) -> Budget:
        on_device = options.device_memory_bytes if given.device.memory else None
        return Budget(model, weights, shapes, options.memory_bytes, on_device)

    loaded = given.loaded or given.load(model.inputs, budget_of)
    batches = loaded.batches
    budget = loaded.fit(budget_of)
    loaded.refuse_overwriting(layout.files)
    settings = options.settings(batches.total, batches.batch_size)
    about = {
        "version": __version__,
        "model": model.sha256,
        "settings": settings,
        "verify": options.verify,
        # The draws of weights depend on them.
        "names": [planned.layer.parameter for planned in plan.layers],
        "processes": given.group.size,
        "device": given.device.label,
    }
    refuse_different(about, given.group)
    with ExitStack() as stack:
        stored = open_store(options, given.group, budget, batches, about, events)
        store, journal = stack.enter_context(stored)
        norms = batch_norms(model) if options.bn is BatchNorm.BATCH else []
        work = Work(
            model,
            sites,
            plan,
            norms,
            batches,
            given.group,
            store,
            given.device,
            options.max_segment_bytes,
            journal,
        )
        before: Mapping[int, Moments] = {}
        if options.verify:
            events.stage("measuring the weights as they are", len(batches.counts))
            before = measure(work, weights, events)
        describe = header_texts(model, plan, settings, {})
        file = stack.enter_context(
            writing_weights(layout, model, naming, others, describe=describe, force=options.force)
        )
        forecast = partial(tell_plan, budget, batches.counts, store.free_bytes, events)
        results = sweep_until_settled(
            work, weights, before, options, settings, events, file, forecast
        )
        if given.source is not None:
            now = given.way(given.source, weights.sources(model.parameters), loaded)
            if now != given.decisions:
                raise _WayChangedError(now)
        size = file.writer.bytes_written
        if given.script is not None and options.out_model is not None:
            _write_model(given.script, file, naming, options.out_model, force=options.force)
        # Until all have come so far, none must write.
        given.group.gather_text("")
    return Report(
        version=__version__,
        model=str(options.model),
        model_sha256=model.sha256,
        opset=model.opset,
        out=str(options.out),
        files=tuple(map(str, layout.files)),
        bytes_written=size,
        settings=settings,
        device=given.device.label,
        per=options.per,
        tol=options.tol,
        samples=batches.total,
        processes=given.group.size,
        available_samples=batches.available,
        skipped_samples=batches.skipped,
        inputs=batches.statistics,
        layers=tuple(results),
        left_alone=tuple(left_alone),
    )


def _layout(model: OnnxModel, naming: Naming, options: InitOptions) -> Layout:
    """The files that will be written; refused where they can't be."""
    tensors = {name: stored.info for name, stored in naming.items()}
    layout = plan_shards(options.out, tensors, options.max_shard_bytes)
    check_layout(layout, force=options.force)
    # The target itself too: shards take its place.
    for path in (options.out, *layout.files):
        refuse_overwriting(path, "the model's external data", model.external_files)
    return layout


def _write_model(
    script: TorchScript, file: WeightsFile, naming: Naming, out: Path, *, force: bool
) -> None:
    """Write the TorchScript model with the written weights."""
    written = {name: file.writer.read(name) for name in naming}
    with replacing_file(out, force=force) as (model_file, _):
        model_file.write(script.with_values(written))


def _check_outputs(options: InitOptions) -> None:
    if options.spill_dir is not None and not options.spill_dir.is_dir():
        raise UsageError(f"--spill-dir {options.spill_dir}: no such folder; make it first")
    if options.out_model is not None:
        if not is_torch_file(options.model):
            raise UsageError("--out-model is for TorchScript models; this one is not")
        if options.out_model.resolve() == options.out.resolve():
            raise UsageError("--out and --out-model are the same file; give two")
    for path in filter(None, (options.out, options.out_model)):
        refuse_overwriting(path, "the model", [options.model])
        check_output(path, force=options.force)


def _layers(
    model: OnnxModel,
    weights: Parameters,
    script: TorchScript | None,
    options: InitOptions,
    events: Events,
) -> tuple[list[LayerSite], Naming, Mapping[str, NDArray[Any]]]:
    """The layers, the written names, and the values of what is written but no parameter here."""
    _check_operators(model)
    refuse_quantised(model)
    sites = find_layers(model)
    others: Mapping[str, NDArray[Any]] = {}
    like = None if options.like is None else read_shapes(options.like)
    if script is None:
        naming = choose_names(model, sites, options.names, events, like)
    else:
        naming, others = script.naming(model, weights)
    if options.like is not None and like is not None:
        shapes = {name: stored.info.shape for name, stored in naming.items()}
        missing = sorted(like.keys() - shapes.keys())
        if model.is_from_tf2onnx and missing and shapes.keys() <= like.keys():
            events.warn(f"tf2onnx has left out, as zeros or within constants: {some_of(missing)}")
            like = {name: like[name] for name in shapes}
        compare_shapes(shapes, like, options.like)
    return renamed(model, sites, naming), naming, others


def _check_operators(model: OnnxModel) -> None:
    unknown = unknown_operators(operators_used(model.nodes, model.skeleton.functions))
    if unknown:
        raise ModelError(
            f"{model.path} uses operators that this ONNX Runtime does not know: "
            f"{', '.join(unknown)}; export it with operators of a released opset"
        )


def _plan(
    model: OnnxModel,
    sites: Sequence[LayerSite],
    left_alone: Sequence[str],
    options: InitOptions,
    events: Events,
) -> Plan:
    if not sites:
        raise ModelError(
            f"{model.path} has no convolution or fully connected layer with a constant weight, "
            "so there is nothing to initialise"
        )
    if left_alone:
        events.warn(f"these are left as they are: {', '.join(left_alone)}")
    unusable = [_unusable(site) for site in sites]
    return plan_layers([site.layer for site in sites], unusable, options)


def _unusable(site: LayerSite) -> tuple[str, Status] | None:
    """Why a layer can't be initialised, whatever the options say."""
    if not site.takes_data:
        return "no data reaches it", Status.UNREACHABLE
    return None
