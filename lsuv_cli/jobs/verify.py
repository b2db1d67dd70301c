"""Measure a model with given weights, and judge every layer."""

from __future__ import annotations

from functools import partial

from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.options import VerifyOptions
from lsuv_cli.core.verification import Verification, verdicts
from lsuv_cli.engine.distributions import find_distributions
from lsuv_cli.engine.forward import measure_and_set_statistics
from lsuv_cli.engine.measure_outputs import measure
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.jobs.facts import run_facts
from lsuv_cli.jobs.opening import Given, with_model
from lsuv_cli.jobs.preparing import find_planned_layers, prepare
from lsuv_cli.layers.find import find_layers
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.samples.open_samples import FindSamples, open_samples
from lsuv_cli.weights.load import load_checkpoint


def verify_weights(
    options: VerifyOptions,
    events: Events,
    group: Group | None = None,
    find: FindSamples = open_samples,
) -> Verification:
    """Measure a model's layers with the weights of a file, or with its own.

    Args:
        options: what the user asked for.
        events: told how the work goes.
        group: the processes that share the samples; None for this one alone.
        find: finds the samples.

    Raises:
        LsuvError: what the user can mend.
    """
    return with_model(options, events, group, find, partial(_verify, options))


def _verify(
    options: VerifyOptions, given: Given, model: OnnxModel, weights: Parameters
) -> Verification:
    layers = find_planned_layers(given, model, weights)
    files: tuple[str, ...] = ()
    if options.weights is not None:
        layer_nodes = find_layers(model)
        loaded = load_checkpoint(
            options.weights, model, weights, layer_nodes, state=given.state, names=options.names
        )
        files = tuple(map(str, loaded.checkpoint.files))
    prepared = prepare(given, model, weights, layers)
    if options.weights is not None:
        given.refuse_other_way(weights.sources(model.parameters), prepared.loaded)
    batches, events = prepared.loaded.batches, given.events
    with prepared.opened_setup({"weights": str(options.weights)}) as setup:
        events.stage("measuring", len(batches.counts))
        if setup.norms:
            forecast = partial(prepared.tell_plan, setup)
            measured = measure_and_set_statistics(setup, weights, events, forecast)
        else:
            measured = measure(setup, weights, events)
        events.stage("looking at the distributions", len(batches.counts))
        distributions = find_distributions(setup, weights, measured, events)
    found = verdicts(layers.plan, measured, distributions, options.tol)
    weights_path = None if options.weights is None else str(options.weights)
    return Verification(
        **run_facts(prepared), weights=weights_path, files=files, layers=tuple(found)
    )
