"""Try several initialisations on one model, and see how the signal goes through with each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from lsuv_cli.core.batches import GivenBatches, first_samples
from lsuv_cli.core.choices import Init, PreInit
from lsuv_cli.core.comparison import Comparison, Trial
from lsuv_cli.core.events import Events, Silent
from lsuv_cli.core.group import Group, SingleProcess
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import CompareOptions
from lsuv_cli.core.records import Feeds
from lsuv_cli.engine.forward import draw_weights, measure_with_batch_statistics
from lsuv_cli.engine.gradients import Differentiator, NoGradientsError, refuse_different
from lsuv_cli.engine.iterate import scale_and_measure
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.differentiable import differentiable_graph
from lsuv_cli.jobs.facts import run_facts
from lsuv_cli.jobs.opening import Given, with_model
from lsuv_cli.jobs.preparing import Prepared, find_planned_layers, prepare
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.samples.open_samples import FindSamples, open_samples

# Gradients are of so many samples at most: a standard deviation over a layer's outputs needs no
# more, and all activations are held at once.
GRADIENT_SAMPLES = 32

# With each value PyTorch holds its gradient, and about as much again of what operators keep.
HELD = 3


def compare_inits(
    options: CompareOptions,
    events: Events,
    group: Group | None = None,
    find: FindSamples = open_samples,
) -> Comparison:
    """Measure a model's layers with several initialisations.

    Args:
        options: what the user asked for.
        events: told how the work goes.
        group: the processes that share the samples; None for this one alone.
        find: finds the samples.

    Raises:
        LsuvError: what the user can mend.
    """
    return with_model(options, events, group, find, partial(_compare, options))


def _compare(
    options: CompareOptions, given: Given, model: OnnxModel, weights: Parameters
) -> Comparison:
    prepared = prepare(given, model, weights, find_planned_layers(given, model, weights))
    with prepared.opened_setup({}) as setup:
        return _Trials(options, prepared, setup).compare(weights)


@dataclass(frozen=True, slots=True)
class _Backward:
    """What finds the gradients: the translated graph, and the samples that go through it."""

    differentiator: Differentiator
    feeds: Feeds
    samples: int


class _Trials:
    """The initialisations, one after the other; each on weights of its own."""

    def __init__(self, options: CompareOptions, prepared: Prepared, setup: Setup) -> None:
        self._options = options
        self._prepared = prepared
        self._setup = setup
        self._events = prepared.given.events
        self._forecast = partial(prepared.tell_plan, setup)
        self._backward: _Backward | None = None
        self._no_gradients = ""
        self._is_checked = False

    def compare(self, weights: Parameters) -> Comparison:
        """Try all of them.

        Args:
            weights: the model's own; not changed.
        """
        options = self._options
        if options.backward and self._prepared.given.group.is_first:
            try:
                self._backward = self._translated()
            except NoGradientsError as error:
                self._no_gradients = str(error)
        found = {trial.init: trial for trial in self._try_all(weights)}
        trials = [found[init] for init in options.inits]
        if self._backward is None:
            # Half of them would not be comparable.
            trials = [replace(trial, backward={}) for trial in trials]
        return Comparison(
            **run_facts(self._prepared),
            layers=self._setup.plan.layers,
            trials=tuple(trials),
            gradient_samples=self._backward.samples if self._backward else 0,
            no_gradients=self._no_gradients,
        )

    def _try_all(self, weights: Parameters) -> Iterator[Trial]:
        """LSUV right after the draw that it scales, so that this need not be drawn twice."""
        options = self._options
        wants_lsuv = Init.LSUV in options.inits
        for init in options.inits:
            kind = init.draw
            if kind is None:
                continue
            own = weights.copy()
            draw_weights(self._setup, own, replace(options, pre_init=kind), self._events)
            yield self._try(init, own, options)
            if wants_lsuv and kind is options.pre_init:
                wants_lsuv = False
                yield self._try(Init.LSUV, own, replace(options, pre_init=PreInit.KEEP))
        if wants_lsuv:
            yield self._try(Init.LSUV, weights.copy(), options)

    def _try(self, init: Init, weights: Parameters, options: CompareOptions) -> Trial:
        """Measure one initialisation, forward and backward.

        Args:
            init: which.
            weights: drawn, unless LSUV is to draw them; changed.
            options: with what `pre_init` LSUV begins.
        """
        setup, events = self._setup, self._events
        events.stage(f"{init}: forward", len(setup.batches.counts))
        failures: tuple[str, ...] = ()
        if init is Init.LSUV:
            forward, failures = scale_and_measure(setup, weights, options, events, self._forecast)
        else:
            forward = measure_with_batch_statistics(setup, weights, events, self._forecast)
        self._warn_of_other_way(init, weights)
        backward: Mapping[int, float] = {}
        if self._backward is not None:
            events.stage(f"{init}: backward")
            try:
                backward = self._gradients(self._backward, weights, forward)
            except NoGradientsError as error:
                self._no_gradients, self._backward = str(error), None
        return Trial(init, forward, backward, failures)

    def _translated(self) -> _Backward:
        setup, batches = self._setup, self._prepared.loaded.batches
        if not batches.counts:
            raise NoGradientsError("the first process has no samples")
        self._events.stage("translating to PyTorch")
        samples = min(GRADIENT_SAMPLES, sum(batches.counts))
        budget, room = self._prepared.budget, self._options.memory_bytes
        while samples > 1 and HELD * budget.total_bytes(samples) > room:
            samples -= 1
        graph = differentiable_graph(setup.model, setup.layer_nodes, setup.norms, setup.measurable)
        differentiator = Differentiator(graph, self._options.threads)
        return _Backward(differentiator, first_samples(batches, samples), samples)

    def _gradients(
        self, backward: _Backward, weights: Parameters, forward: Mapping[int, Moments]
    ) -> Mapping[int, float]:
        signal = backward.differentiator.run(weights, backward.feeds, self._options.seed)
        if not self._is_checked:
            # Once is enough: the translated graph is the same for all.
            names = [planned.layer.name for planned in self._setup.plan.layers]
            refuse_different(signal, self._on_the_same(backward, weights, forward), names)
            self._is_checked = True
        return signal.backward

    def _on_the_same(
        self, backward: _Backward, weights: Parameters, forward: Mapping[int, Moments]
    ) -> Mapping[int, Moments]:
        """What ONNX Runtime measures on the samples of the gradients."""
        setup = self._setup
        if setup.single_batch and setup.batches.total == backward.samples:
            return forward
        few = replace(setup, batches=GivenBatches([backward.feeds]), group=SingleProcess())
        return measure_with_batch_statistics(few, weights, Silent(), lambda _segments: None)

    def _warn_of_other_way(self, init: Init, weights: Parameters) -> None:
        given, loaded = self._prepared.given, self._prepared.loaded
        if given.other_way(weights.sources(self._setup.model.parameters), loaded) is not None:
            self._events.warn(
                f"with {init} the samples take another branch of If, Loop or Scan than with the "
                "model's own weights; its figures are those of the branches that these take"
            )
