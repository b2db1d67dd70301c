"""`lsuv compare`: how the signal goes through a model with several initialisations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from lsuv_cli.core.choices import Init, PreInit
from lsuv_cli.core.comparison import ComparedInit, Comparison
from lsuv_cli.core.events import Events
from lsuv_cli.core.group import Group
from lsuv_cli.core.indices import LayerIndex
from lsuv_cli.core.options import CompareOptions
from lsuv_cli.engine.batch_statistics import measure_with_batch_statistics
from lsuv_cli.engine.draw import draw_weights
from lsuv_cli.engine.iterate import scale_and_measure
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.jobs.backward import BackwardPass
from lsuv_cli.jobs.handmade import warn_of_handmade
from lsuv_cli.jobs.opening import OpenModel, open_inputs, open_named
from lsuv_cli.jobs.planning import plan_model
from lsuv_cli.jobs.preparing import prepare_run
from lsuv_cli.samples.open_samples import FindSamples, open_samples


def compare_inits(
    options: CompareOptions,
    events: Events,
    group: Group | None = None,
    find: FindSamples = open_samples,
    open_model: OpenModel = open_named,
) -> Comparison:
    """Measure a model's layers with several initialisations.

    The arguments are those of `open_inputs`.

    Raises:
        LsuvError: the model, the samples or an option can't be used.
    """
    with open_inputs(options, events, group, find, open_model) as inputs:
        plan = plan_model(inputs)
        warn_of_handmade(inputs, plan)
        run = prepare_run(inputs, plan)
        with run.open_setup({}) as setup:
            forecast = partial(run.report_forecast, setup)
            backward = BackwardPass(options, run, setup)
            found: dict[Init, ComparedInit] = {}
            for init, weights, pre_init in _initialised(options, setup, inputs.weights, events):
                events.stage(f"{init}: forward", len(setup.batches.counts))
                failures: tuple[str, ...] = ()
                if init is Init.LSUV:
                    scaling = replace(options, pre_init=pre_init)
                    forward, failures = scale_and_measure(setup, weights, scaling, events, forecast)
                else:
                    forward = measure_with_batch_statistics(setup, weights, events, forecast)
                if inputs.changed_decisions(weights) is not None:
                    events.warn(
                        f"with {init} the samples take another branch of If, Loop or Scan than "
                        "with the model's own weights; its figures are those of the branches that "
                        "these take"
                    )
                gradients: Mapping[LayerIndex, float] = {}
                if backward.is_possible:
                    events.stage(f"{init}: backward")
                    gradients = backward.gradients(weights, forward)
                found[init] = ComparedInit(init, forward, gradients, failures)
    if not backward.is_possible:
        # Half of the gradients would not be comparable.
        found = {init: replace(one, backward={}) for init, one in found.items()}
    return Comparison(
        **run.report_fields(),
        layers=run.plan.layers.layers,
        inits=tuple(found[init] for init in options.inits),
        gradient_samples=backward.samples,
        no_gradients=backward.why_not,
    )


def _initialised(
    options: CompareOptions, setup: Setup, weights: Parameters, events: Events
) -> Iterator[tuple[Init, Parameters, PreInit]]:
    """Draw weights for one initialisation after another.

    LSUV follows the draw that it scales, so that this need not be drawn twice.

    Args:
        options: what the user asked for.
        setup: what stays the same.
        weights: the model's own; not changed.
        events: receives progress events.

    Yields:
        The initialisation, weights that may be changed, and what LSUV has to draw before it scales
        them.
    """
    wants_lsuv = Init.LSUV in options.inits
    for init in options.inits:
        drawn = init.draw
        if drawn is None:
            continue
        own = weights.copy()
        draw_weights(setup, own, replace(options, pre_init=drawn), events)
        yield init, own, PreInit.KEEP
        if wants_lsuv and drawn is options.pre_init:
            wants_lsuv = False
            yield Init.LSUV, own, PreInit.KEEP
    if wants_lsuv:
        yield Init.LSUV, weights.copy(), options.pre_init
