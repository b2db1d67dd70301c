"""`lsuv verify`: measure a model with given weights, and judge every layer."""

from __future__ import annotations

from functools import partial

from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.options import VerifyOptions
from lsuv_cli.core.verification import Verification, may_be_rounding, verdicts
from lsuv_cli.engine.batch_statistics import measure_and_set_statistics
from lsuv_cli.engine.distributions import find_distributions
from lsuv_cli.engine.measure_outputs import measure_outputs
from lsuv_cli.engine.rounding import measure_rounding
from lsuv_cli.jobs.file_settings import with_file_settings
from lsuv_cli.jobs.opening import OpenedInputs, OpenModel, open_inputs, open_named
from lsuv_cli.jobs.planning import plan_model
from lsuv_cli.jobs.preparing import PreparedRun, prepare_run
from lsuv_cli.samples.open_samples import FindSamples, open_samples
from lsuv_cli.weights.load import load_checkpoint


def verify_weights(
    options: VerifyOptions,
    events: Events,
    group: Group | None = None,
    find: FindSamples = open_samples,
    open_model: OpenModel = open_named,
) -> Verification:
    """Measure a model's layers with the weights of a file, or with its own.

    The arguments are those of `open_inputs`.

    Raises:
        LsuvError: the model, the weights, the samples or an option can't be used.
    """
    options = with_file_settings(options, events)
    with open_inputs(options, events, group, find, open_model) as inputs:
        while True:
            run, files = _plan_with_weights(options, inputs)
            # With a file's weights the samples may take other branches, which have other layers.
            decisions = inputs.changed_decisions(inputs.weights) if files else None
            if decisions is None:
                break
            inputs.start_again(decisions)
        weights = inputs.weights
        with run.open_setup({"weights": str(options.weights)}) as setup:
            events.stage("measuring", len(setup.batches.counts))
            if setup.norms:
                forecast = partial(run.report_forecast, setup)
                measured = measure_and_set_statistics(setup, weights, events, forecast)
            else:
                measured = measure_outputs(setup, weights, events)
            rounding = None
            if may_be_rounding(setup.plan, measured, options.tol):
                rounding = measure_rounding(setup, weights, measured, events)
            events.stage("measuring the distributions", len(setup.batches.counts))
            distributions = find_distributions(setup, weights, measured, events)
        layers = verdicts(run.plan.layers, measured, distributions, options.tol, rounding)
        return Verification(
            **run.report_fields(),
            weights=None if options.weights is None else str(options.weights),
            files=files,
            layers=tuple(layers),
        )


def _plan_with_weights(
    options: VerifyOptions, inputs: OpenedInputs
) -> tuple[PreparedRun, tuple[str, ...]]:
    """Plan the model, load the file of weights, and read the samples.

    Returns:
        The run, and the paths of the files of weights.
    """
    plan = plan_model(inputs, noted=options.from_file)
    files: tuple[str, ...] = ()
    if options.weights is not None:
        loaded = load_checkpoint(
            options.weights,
            inputs.model,
            inputs.weights,
            plan.layer_nodes,
            inputs.events,
            state=inputs.state,
            names=options.names,
        )
        files = tuple(map(str, loaded.checkpoint.files))
    return prepare_run(inputs, plan), files
