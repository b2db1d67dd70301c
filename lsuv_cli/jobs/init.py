"""The main job: initialise a model's weights by LSUV and write them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import InitOptions
from lsuv_cli.core.records import LayerResult, Report
from lsuv_cli.engine.distributions import find_distributions
from lsuv_cli.engine.iterate import Iterations
from lsuv_cli.engine.measure_outputs import measure
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.graph.written_tensors import Naming
from lsuv_cli.jobs.apply import refuse_model_name, written_model
from lsuv_cli.jobs.facts import run_facts
from lsuv_cli.jobs.opening import Given, with_model
from lsuv_cli.jobs.preparing import Prepared, find_planned_layers, prepare
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.samples.open_samples import FindSamples, open_samples
from lsuv_cli.weights.atomic_files import replacing_file
from lsuv_cli.weights.formats import writer_for
from lsuv_cli.weights.header import header_texts
from lsuv_cli.weights.onnx_output import model_files
from lsuv_cli.weights.output_checks import check_output, refuse_overwriting
from lsuv_cli.weights.shards import ShardPlan, check_shards, plan_shards
from lsuv_cli.weights.weights_output import WeightsOutput, open_weights_output


def initialize(
    options: InitOptions,
    events: Events,
    group: Group | None = None,
    find: FindSamples = open_samples,
) -> Report:
    """Initialise a model's weights by LSUV and write them.

    Args:
        options: what the user asked for.
        events: told how the work goes.
        group: the processes that share the samples; None for this one alone.
        find: finds the samples.

    Raises:
        LsuvError: what the user can mend; nothing is left behind.
    """
    with ExitStack() as stack:
        if group is not None and not group.is_first:
            # The first process writes; the others need their weights only as long as they work.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lsuv-"))
            options = replace(options, out=Path(folder, "out.safetensors"), out_model=None)
        _check_outputs(options)
        return with_model(options, events, group, find, partial(_initialize, options))


def _initialize(
    options: InitOptions, given: Given, model: OnnxModel, weights: Parameters
) -> Report:
    if options.resume is not None and given.source is not None:
        raise UsageError(
            f"--resume: {options.model} has If, Loop or Scan with layers inside, and "
            "which of these the samples meet may change; leave the option out"
        )
    layers = find_planned_layers(given, model, weights)
    layout = _layout(model, layers.naming, options)
    files_of_model = _check_model_files(options, given, model, layout)
    prepared = prepare(given, model, weights, layers)
    prepared.loaded.refuse_overwriting([*layout.files, *files_of_model])
    events, settings = given.events, prepared.settings
    with prepared.opened_setup({"verify": options.verify}) as setup:
        before: Mapping[int, Moments] = {}
        if options.verify:
            events.stage("measuring the weights as they are", len(setup.batches.counts))
            before = measure(setup, weights, events)
        describe = header_texts(model, setup.plan, settings, {})
        with (
            # Left last, so that the model gets its name when the weights have theirs.
            ExitStack() as stack,
            open_weights_output(
                layout, model, layers.naming, layers.others, describe=describe, force=options.force
            ) as file,
        ):
            lsuv = Iterations(setup, weights, options, events)
            while True:
                for segment in lsuv.next_sweep(partial(prepared.tell_plan, setup)):
                    lsuv.draw(segment)
                    file.put_final(lsuv.scale(segment), weights)
                events.stage("writing", len(model.parameters))
                file.put_rest(weights, events.advance)
                file.writer.set_metadata(
                    header_texts(model, setup.plan, settings, lsuv.outcome.scales)
                )
                after: Mapping[int, Moments] = {}
                # Where one sweep may not find the final scale, only a measurement tells when it is.
                if options.verify or setup.plan.needs_more_sweeps:
                    events.stage("verifying the written file")
                    after = measure(setup, weights, events)
                results = lsuv.results(before, after)
                if lsuv.is_done(results):
                    break
            given.refuse_other_way(weights.sources(model.parameters), prepared.loaded)
            distributions = _distributions(options, given, setup, weights, results)
            if options.out_model is not None:
                _write_model(prepared, options, options.out_model, weights, file, stack)
            # Until all have come so far, none must write.
            given.group.gather_text("")
            bytes_written = file.writer.bytes_written
    return Report(
        **run_facts(prepared),
        out=str(options.out),
        files=tuple(map(str, layout.files)),
        bytes_written=bytes_written,
        layers=tuple(results),
        distributions=distributions,
    )


def _distributions(
    options: InitOptions,
    given: Given,
    setup: Setup,
    weights: Parameters,
    results: Sequence[LayerResult],
) -> Mapping[int, Distribution]:
    """How the outputs are distributed with the written weights, in one more pass.

    The sweep and the measurements before it know nothing of it, so that it can't change them.
    """
    # The first process writes the report; only it need have been told to.
    wanted = given.group.gather_text(str(options.distributions))[0]
    if not options.verify or wanted != str(True):
        return {}
    after = {index: one.after for index, one in enumerate(results) if one.after is not None}
    given.events.stage("looking at the distributions", len(setup.batches.counts))
    return find_distributions(setup, weights, after, given.events)


def _layout(model: OnnxModel, naming: Naming, options: InitOptions) -> ShardPlan:
    """The files that will be written; refused where they can't be."""
    tensors = {name: stored.info for name, stored in naming.items()}
    layout = plan_shards(options.out, tensors, options.max_shard_bytes)
    check_shards(layout, force=options.force)
    # The target itself too: shards take its place.
    for path in (options.out, *layout.files):
        refuse_overwriting(path, "the model's external data", model.external_files)
    return layout


def _check_model_files(
    options: InitOptions, given: Given, model: OnnxModel, layout: ShardPlan
) -> list[Path]:
    """The files of the model that will be written, too; refused where they can't be."""
    if options.out_model is None:
        return []
    files = [options.out_model]
    if given.state is None:
        files = model_files(model, options.out_model)
    refuse_model_name(options.out_model, is_torch=given.state is not None)
    for path in files:
        _check_output(options, path)
        refuse_overwriting(path, "the model's external data", model.external_files)
        if path.resolve() in {other.resolve() for other in (options.out, *layout.files)}:
            raise UsageError(f"--out and --out-model would both write {path}; give other names")
    return files


def _write_model(
    prepared: Prepared,
    options: InitOptions,
    out: Path,
    weights: Parameters,
    file: WeightsOutput,
    stack: ExitStack,
) -> None:
    """Write the model with the written weights; it gets its name when the stack is closed."""
    given = prepared.given
    if given.state is not None:
        written = {name: file.writer.read(name) for name in prepared.layers.naming}
        model_file, _ = stack.enter_context(replacing_file(out, force=options.force))
        model_file.write(given.state.with_values(written))
        return
    model = prepared.model
    stack.enter_context(
        written_model(
            model,
            options.content,
            weights,
            out,
            given.events,
            force=options.force,
            threads=options.threads,
        )
    )


def _check_outputs(options: InitOptions) -> None:
    if options.out_model is not None and options.out_model.resolve() == options.out.resolve():
        raise UsageError("--out and --out-model are the same file; give two")
    for path in options.outputs:
        _check_output(options, path)
    writer_for(options.out)


def _check_output(options: InitOptions, path: Path) -> None:
    if options.resume is not None and path.resolve() == options.resume.resolve():
        raise UsageError(f"--resume and an output are both {path}; give two names")
    for role, given in options.inputs.items():
        refuse_overwriting(path, role, [given])
    check_output(path, force=options.force)
