"""Weights are drawn: orthonormal matrices, or random numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

from lsuv_cli.core.choices import PreInit
from lsuv_cli.core.events import Events
from lsuv_cli.core.indices import LayerIndex, WeightIndex
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.preinit import Float32Array, draw, generator, orthonormal_flops
from lsuv_cli.core.records import Plan
from lsuv_cli.engine.gains import set_gains
from lsuv_cli.engine.rescale import clear_biases
from lsuv_cli.engine.setup import Setup, without_scaling
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.runtime.devices import Device
from lsuv_cli.weights.qr import Factorisation, choose_qr


def choose_factorisation(plan: Plan, pre_init: PreInit, device: Device) -> Factorisation:
    """Choose the QR factorisation for the orthonormal matrices of a plan."""
    layouts = [plan.layers[index].layer.layout for index in plan.initialised()]
    flops = sum(map(orthonormal_flops, layouts)) if pre_init is PreInit.ORTHONORMAL else 0.0
    where = f"cuda:{device.index}" if device.memory == "cuda" else "cpu"
    return choose_qr(flops, where, device.threads)


def pre_initialise(
    setup: Setup,
    weights: Parameters,
    drawn: Sequence[WeightIndex],
    options: WorkOptions,
    factorisation: Factorisation,
    events: Events,
) -> None:
    """Replace some weights by draws.

    Args:
        setup: the model, its plan and its samples.
        weights: changed.
        drawn: the weights to draw.
        options: `pre_init` is the kind of draw; with KEEP nothing is drawn.
        factorisation: makes matrices orthonormal.
        events: receives progress events.
    """
    drawn = [index for index in drawn if setup.plan.layers[index].layer.is_drawn]
    if options.pre_init is PreInit.KEEP or not drawn:
        return
    events.stage("pre-initialising", len(drawn))

    def draw_one(index: WeightIndex) -> Float32Array:
        layer = setup.plan.layers[index].layer
        kind = PreInit.ORTHONORMAL if layer.recurrent else options.pre_init
        rng = generator(options.seed, layer.weight_name)
        return draw(kind, layer.layout, rng, factorisation.qr)

    names = [setup.plan.layers[index].layer.weight_value for index in drawn]
    parts = Counter(setup.model.view(name).parameter for name in names)
    for index, name in zip(drawn, names, strict=True):
        # Of a parameter that is drawn part by part, each part is set into what is there.
        is_whole = parts[setup.model.view(name).parameter] == 1
        if is_whole and not setup.layer_nodes[index].has_data_dependent_size:
            weights.release(name)
    with factorisation.mapping() as map_:
        for done, (name, weight) in enumerate(zip(names, map_(draw_one, drawn), strict=True), 1):
            weights.set(name, weight)
            events.advance(done, len(drawn))
    for index in drawn:
        if setup.plan.layers[index].layer.computed_weight:
            set_gains(setup, weights, LayerIndex(index))


def draw_weights(setup: Setup, weights: Parameters, options: WorkOptions, events: Events) -> None:
    """Draw all weights of the plan, and set biases to zero unless they are to stay.

    Args:
        setup: the model, its plan and its samples.
        weights: changed.
        options: `pre_init` is the kind of draw; with KEEP all weights stay, and all biases too.
        events: receives progress events.
    """
    if options.pre_init is PreInit.KEEP:
        return
    qr = choose_factorisation(setup.plan, options.pre_init, setup.device)
    pre_initialise(setup, weights, setup.plan.initialised(), options, qr, events)
    clear_biases(replace(setup, plan=without_scaling(setup.plan)), weights)


class PendingDraws:
    """Draws the weights of a plan, each shortly before it is needed."""

    def __init__(
        self, setup: Setup, weights: Parameters, options: WorkOptions, events: Events
    ) -> None:
        """Begin with all weights of the plan.

        Args:
            setup: the model, its plan and its samples.
            weights: changed.
            options: `pre_init` is the kind of draw, and `seed` seeds it.
            events: receives progress events.
        """
        self._setup = setup
        self._weights = weights
        self._options = options
        self._events = events
        self._pending = setup.plan.initialised()
        self._undone: list[WeightIndex] = []
        self._factorisation = choose_factorisation(setup.plan, options.pre_init, setup.device)

    def draw(self, parameters: Collection[str]) -> None:
        """Draw the weights of some parameters that have not been drawn yet."""
        self._draw([weight for weight in self._pending if self._parameter(weight) in parameters])

    def draw_all(self) -> None:
        """Draw all weights that have not been drawn yet, and were not undone in this sweep."""
        self._draw(self._pending)

    def undo(self, weight: WeightIndex) -> None:
        """Set a weight back to what it was before it was drawn, until the next sweep."""
        if self._options.pre_init is PreInit.KEEP:
            return
        layer = self._setup.plan.layers[weight].layer
        for name in (layer.weight_value, *(part.value for part in layer.scaled_parts)):
            self._weights.restore(name)
        self._undone.append(weight)

    def begin_sweep(self) -> None:
        """Have the weights that were undone be drawn again."""
        self._pending, self._undone = sorted([*self._pending, *self._undone]), []

    def _draw(self, weights: Sequence[WeightIndex]) -> None:
        self._pending = [weight for weight in self._pending if weight not in weights]
        pre_initialise(
            self._setup, self._weights, weights, self._options, self._factorisation, self._events
        )

    def _parameter(self, weight: WeightIndex) -> str:
        value = self._setup.plan.layers[weight].layer.weight_value
        return self._setup.model.view(value).parameter
