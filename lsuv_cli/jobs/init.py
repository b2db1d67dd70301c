"""`lsuv init`: initialise a model's weights by LSUV and write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group, SingleProcess
from lsuv_cli.core.indices import LayerIndex, by_layer
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import InitOptions
from lsuv_cli.core.records import LayerResult, Report
from lsuv_cli.engine.branches import BranchesChanged
from lsuv_cli.engine.distributions import find_distributions
from lsuv_cli.engine.iterate import Iterations
from lsuv_cli.engine.measure_outputs import measure_outputs
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.jobs.handmade import warn_of_handmade
from lsuv_cli.jobs.init_outputs import checked_outputs, plan_outputs
from lsuv_cli.jobs.opening import OpenedInputs, OpenModel, open_inputs, open_named
from lsuv_cli.jobs.planning import plan_model
from lsuv_cli.jobs.preparing import prepare_run
from lsuv_cli.samples.open_samples import FindSamples, open_samples


def initialize_weights(
    options: InitOptions,
    events: Events,
    group: Group | None = None,
    find: FindSamples = open_samples,
    open_model: OpenModel = open_named,
) -> Report:
    """Initialise a model's weights by LSUV and write them.

    Args:
        options: what the user asked for.
        events: receives progress events.
        group: the processes that share the samples; None for this one alone.
        find: finds the samples.
        open_model: opens the model.

    Raises:
        LsuvError: the model, the samples or an option can't be used, or an output can't be written;
            nothing is left behind.
    """
    with (
        checked_outputs(options, group or SingleProcess()) as checked,
        open_inputs(checked, events, group, find, open_model) as inputs,
    ):
        while True:
            try:
                # Of the processes only the first one has --out-model.
                return _initialize(checked, inputs, names_required=options.out_model is None)
            except BranchesChanged as changed:
                inputs.start_again(changed.decisions)


def _initialize(options: InitOptions, inputs: OpenedInputs, *, names_required: bool) -> Report:
    """Initialise the layers on the branches that the samples take with the present weights.

    Raises:
        BranchesChanged: with the new weights they take others; nothing was written.
        LsuvError: see `initialize_weights`.
    """
    # Plan, before anything takes long: layers, names, files and memory.
    _refuse_resuming_branches(options, inputs)
    plan = plan_model(inputs, names_required=names_required)
    warn_of_handmade(inputs, plan)
    outputs = plan_outputs(options, inputs, plan)
    run = prepare_run(inputs, plan)
    outputs.refuse_samples(run.samples)
    weights, events = inputs.weights, inputs.events
    before: Mapping[LayerIndex, Moments] = {}
    after: Mapping[LayerIndex, Moments] = {}
    with run.open_setup({"verify": options.verify}) as setup:
        if options.verify:
            events.stage("measuring the weights as they are", len(setup.batches.counts))
            before = measure_outputs(setup, weights, events)
        with outputs.open(run.settings) as files:
            lsuv = Iterations(setup, weights, options, events)
            while True:
                for segment in lsuv.next_sweep(partial(run.report_forecast, setup)):
                    lsuv.draw(segment)
                    final = lsuv.sweep(segment)
                    files.write_final(final, weights)
                files.write_rest(weights, lsuv.outcome.scales, events)
                # Where one sweep may not find the final scale, only a measurement shows it.
                if options.verify or plan.layers.needs_more_sweeps:
                    events.stage("verifying the written file")
                    after = measure_outputs(setup, weights, events)
                results = lsuv.results(before, after)
                if lsuv.is_done(results):
                    break
            inputs.refuse_changed_branches()
            distributions = _distributions(options, inputs, setup, weights, results)
            files.write_model(weights)
            # No file gets its name before all processes have come this far.
            inputs.group.gather_text("")
    return Report(
        **run.report_fields(),
        out=str(options.out),
        files=tuple(map(str, outputs.shards.files)),
        bytes_written=outputs.shards.bytes_written(),
        layers=tuple(results),
        distributions=distributions,
    )


def _refuse_resuming_branches(options: InitOptions, inputs: OpenedInputs) -> None:
    if options.resume is not None and inputs.source is not None:
        raise UsageError(
            f"--resume: {options.model} has If, Loop or Scan with layers inside, and "
            "which of these the samples meet may change; leave the option out"
        )


def _distributions(
    options: InitOptions,
    inputs: OpenedInputs,
    setup: Setup,
    weights: Parameters,
    results: Sequence[LayerResult],
) -> Mapping[LayerIndex, Distribution]:
    """Measure how the outputs are distributed with the written weights, in one more pass.

    The sweeps and the measurements before do not depend on it, so that it can't change them.
    """
    # The first process writes the report; the others may not know that one was asked for.
    wanted = inputs.group.gather_text(str(options.distributions))[0]
    if not options.verify or wanted != str(True):
        return {}
    after = {index: one.after for index, one in by_layer(results) if one.after is not None}
    inputs.events.stage("measuring the distributions", len(setup.batches.counts))
    return find_distributions(setup, weights, after, inputs.events)
