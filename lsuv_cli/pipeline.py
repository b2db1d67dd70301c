"""The main job, from top to bottom."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lsuv_cli import __version__
from lsuv_cli.control import along, find_way
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
from lsuv_cli.sweep.session import Device, select_device, unknown_operators
from lsuv_cli.sweep.store import ValueStore
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
    _check_outputs(options)
    device = select_device(options.device, options.provider, options.threads, events.note)
    events.stage("reading the model")
    script = TorchScript(options.model) if is_torch_file(options.model) else None
    with ExitStack() as stack:

        def load(inputs: Sequence[InputSpec]) -> Loaded:
            loaded = Loaded(inputs, options, group, events)
            stack.callback(loaded.batches.close)
            return loaded

        if script is None:
            source, loaded = read_source(options.model), None
        else:
            # It does not tell its inputs' shapes, and the exporter wants to see them.
            loaded = load(script.inputs)
            events.stage("converting to ONNX")
            source = script.convert(loaded.batches.example())
        source = constants_outside(source)
        if not controlling_nodes(source):
            model, weights = model_of(source)
            # It holds the file's weights, which need not stay in memory once others are drawn.
            del source
            loaded = loaded or load(model.inputs)
            return _initialize(
                _Given(script, loaded, group, device), model, weights, options, events
            )
        # Which layers the samples meet is only known once they are there.
        loaded = loaded or load(model_of(source)[0].inputs)
        given = _Given(script, loaded, group, device, source)
        return _along_the_way(given, source, options, events)


def _along_the_way(
    given: _Given, source: ModelSource, options: InitOptions, events: Events
) -> Report:
    """Initialise the layers that the samples meet in a model with If, Loop or Scan."""
    events.stage("following the samples through If, Loop and Scan")
    decisions = _way(source, {}, given, options)
    for _ in range(MAX_WAYS):
        try:
            return _initialize(
                replace(given, decisions=decisions),
                *model_of(along(source, decisions)),
                options,
                events,
            )
        except _WayChangedError as changed:
            events.note("with the new weights the samples take another branch; starting again")
            decisions = changed.decisions
    raise ModelError(
        f"{options.model}: which branches the samples take changes with every initialisation, "
        "so that their layers can't be measured; export the model with one of them"
    )


def _way(
    source: ModelSource, weights: Sources, given: _Given, options: InitOptions
) -> Sequence[Decisions]:
    """The way that every batch takes.

    Raises:
        ModelError: they take different ones.
    """
    batches, group = given.loaded.batches, given.group
    ways = [
        find_way(source, weights, batches.feeds(b), given.device, options.max_segment_bytes)
        for b in range(len(batches.counts))
    ]
    everyone: list[list[list[Decisions]]] = [
        json.loads(text) for text in group.gather_text(json.dumps(ways))
    ]
    different = [way for part in everyone for way in part]
    if any(way != different[0] for way in different):
        raise ModelError(
            f"{options.model}: not all batches of samples take the same branches; give "
            "--batch-size the number of samples, or export the model with one of them"
        )
    return different[0]


@dataclass(frozen=True, slots=True)
class _Given:
    """What the user gave, opened.

    Attributes:
        script: the TorchScript file; None for ONNX.
        loaded: the samples.
        group: the processes that share them.
        device: where sessions run.
        source: the model as it was before its bodies were written out; None where they were not.
        decisions: along which way that was done.
    """

    script: TorchScript | None
    loaded: Loaded
    group: Group
    device: Device
    source: ModelSource | None = None
    decisions: Sequence[Decisions] = ()


def _initialize(
    given: _Given, model: OnnxModel, weights: Parameters, options: InitOptions, events: Events
) -> Report:
    """Initialise a model whose layers all stand in the main graph."""
    sites, naming, others = _layers(model, weights, given.script, options, events)
    layout = _layout(model, naming, options)
    left_alone = layers_left_alone(model)
    plan = _plan(model, sites, left_alone, options, events)
    loaded, batches = given.loaded, given.loaded.batches
    loaded.refuse_overwriting(layout.files)
    norms = batch_norms(model) if options.bn is BatchNorm.BATCH else []
    store = ValueStore(options.memory_bytes, None)
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
    )
    before: Mapping[int, Moments] = {}
    if options.verify:
        events.stage("measuring the weights as they are", len(batches.counts))
        before = measure(work, weights, events)
    describe = header_texts(model, plan, options, batches.total, {})
    with writing_weights(
        layout, model, naming, others, describe=describe, force=options.force
    ) as file:
        results = sweep_until_settled(work, weights, before, options, events, file)
        if given.source is not None:
            written = weights.sources(model.parameters)
            now = _way(given.source, written, given, options)
            if now != given.decisions:
                raise _WayChangedError(now)
        size = file.writer.bytes_written
        if given.script is not None and options.out_model is not None:
            _write_model(given.script, file, naming, options.out_model, force=options.force)
    return Report(
        version=__version__,
        model=str(options.model),
        model_sha256=model.sha256,
        opset=model.opset,
        out=str(options.out),
        files=tuple(map(str, layout.files)),
        bytes_written=size,
        settings=options.settings(batches.total),
        device=given.device.label,
        per=options.per,
        tol=options.tol,
        samples=batches.total,
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
