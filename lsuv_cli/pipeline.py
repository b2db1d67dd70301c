"""The main job, from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lsuv_cli import __version__
from lsuv_cli.control import along, find_way
from lsuv_cli.core.choices import BatchNorm, Status
from lsuv_cli.core.errors import ModelError, UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import InitOptions
from lsuv_cli.core.planning import plan_layers
from lsuv_cli.core.records import InputSpec, Plan, Report, Samples
from lsuv_cli.engine import Work, measure
from lsuv_cli.iteration import sweep_until_settled
from lsuv_cli.model.control_flow import Decisions, controlling_nodes
from lsuv_cli.model.hoisting import constants_outside
from lsuv_cli.model.layers import LayerSite, find_layers, layers_left_alone
from lsuv_cli.model.names import renamed
from lsuv_cli.model.norms import batch_norms
from lsuv_cli.model.onnx_file import ModelSource, read_source
from lsuv_cli.model.onnx_model import OnnxModel, model_of
from lsuv_cli.model.parameters import Parameters
from lsuv_cli.model.quantised import refuse_quantised
from lsuv_cli.model.stored import Naming
from lsuv_cli.model.topology import operators_used
from lsuv_cli.model.torchscript import TorchScript, is_torch_file
from lsuv_cli.naming import choose_names, some_of
from lsuv_cli.samples.batch import load_samples
from lsuv_cli.samples.statistics import describe_input, normalisation_advice
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


def initialize(options: InitOptions, events: Events) -> Report:
    """Initialise a model's weights by LSUV and write them.

    Raises:
        LsuvError: what the user can mend; nothing is left behind.
    """
    _check_outputs(options)
    device = select_device(options.device, options.provider, options.threads, events.note)
    events.stage("reading the model")
    script = TorchScript(options.model) if is_torch_file(options.model) else None
    if script is None:
        source, samples = read_source(options.model), None
    else:
        # It does not tell its inputs' shapes, and the exporter wants to see them.
        samples = _load(script.inputs, options, events)
        events.stage("converting to ONNX")
        source = script.convert(samples.feeds)
    source = constants_outside(source)
    if not controlling_nodes(source):
        model, weights = model_of(source)
        # It holds the file's weights, which need not stay in memory once others are drawn.
        del source
        return _initialize(_Given(script, samples, device), model, weights, options, events)
    # Which layers the samples meet is only known once they are there.
    samples = samples or _load(model_of(source)[0].inputs, options, events)
    events.stage("following the samples through If, Loop and Scan")
    most = options.max_segment_bytes
    decisions: Sequence[Decisions] = find_way(source, {}, samples.feeds, device, most)
    for _ in range(MAX_WAYS):
        given = _Given(script, samples, device, source, decisions)
        try:
            return _initialize(given, *model_of(along(source, decisions)), options, events)
        except _WayChangedError as changed:
            events.note("with the new weights the samples take another branch; starting again")
            decisions = changed.decisions
    raise ModelError(
        f"{options.model}: which branches the samples take changes with every initialisation, "
        "so that their layers can't be measured; export the model with one of them"
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """What the user gave, opened.

    Attributes:
        script: the TorchScript file; None for ONNX.
        samples: the samples, if they have been loaded already.
        device: where sessions run.
        source: the model as it was before its bodies were written out; None where they were not.
        decisions: along which way that was done.
    """

    script: TorchScript | None
    samples: Samples | None
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
    samples = given.samples or _load(model.inputs, options, events)
    for path in layout.files:
        refuse_overwriting(path, "one of the samples", samples.files)
    feeds, count, device = samples.feeds, samples.count, given.device
    norms = batch_norms(model) if options.bn is BatchNorm.BATCH else []
    work = Work(model, sites, plan, norms, feeds, count, device, options.max_segment_bytes)
    before: Mapping[int, Moments] = {}
    if options.verify:
        events.stage("measuring the weights as they are")
        before = measure(work, weights)
    describe = header_texts(model, plan, options, count, {})
    with writing_weights(
        layout, model, naming, others, describe=describe, force=options.force
    ) as file:
        results = sweep_until_settled(work, weights, before, options, events, file)
        if given.source is not None:
            written = weights.sources(model.parameters)
            now = find_way(given.source, written, feeds, device, options.max_segment_bytes)
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
        settings=options.settings(count),
        device=device.label,
        per=options.per,
        tol=options.tol,
        samples=count,
        available_samples=samples.available,
        skipped_samples=samples.skipped,
        inputs=samples.statistics,
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


def _load(inputs: Sequence[InputSpec], options: InitOptions, events: Events) -> Samples:
    events.stage("loading samples", options.samples.count)
    samples = load_samples(inputs, options.samples, options.threads, events.advance)
    for path in filter(None, (options.out, options.out_model)):
        refuse_overwriting(path, "one of the samples", samples.files)
    _tell(samples, options, events)
    return samples


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


def _tell(samples: Samples, options: InitOptions, events: Events) -> None:
    for path, reason in samples.skipped:
        events.warn(f"skipped {path}: {reason}")
    wanted = options.samples.count
    if samples.count < wanted:
        events.note(f"using all {samples.count} samples ({wanted} were asked for)")
    for statistics in samples.statistics:
        events.note(describe_input(statistics))
        advice = normalisation_advice(statistics, options.samples)
        if advice:
            events.warn(advice)
