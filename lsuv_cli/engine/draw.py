"""Weights replaced by draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lsuv_cli.core.choices import PreInit
from lsuv_cli.core.events import Events
from lsuv_cli.core.indices import WeightIndex
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.core.preinit import Float32Array, draw, generator, orthonormal_flops
from lsuv_cli.core.records import Plan
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.runtime.devices import Device
from lsuv_cli.weights.qr import Factorisation, choose_qr


def choose_factorisation(plan: Plan, pre_init: PreInit, device: Device) -> Factorisation:
    """The QR factorisation for all the orthonormal matrices that the plan wants."""
    drawn = [plan.layers[index].layer.layout for index in plan.initialised()]
    flops = sum(map(orthonormal_flops, drawn)) if pre_init is PreInit.ORTHONORMAL else 0.0
    where = f"cuda:{device.index}" if device.memory == "cuda" else "cpu"
    return choose_qr(flops, where, device.threads)


def pre_initialise(
    setup: Setup,
    weights: Parameters,
    layers: Sequence[WeightIndex],
    options: WorkOptions,
    factorisation: Factorisation,
    events: Events,
) -> None:
    """Replace the weights of some layers by draws."""
    if options.pre_init is PreInit.KEEP or not layers:
        return
    events.stage("pre-initialising", len(layers))

    def drawn(index: WeightIndex) -> Float32Array:
        layer = setup.plan.layers[index].layer
        kind = PreInit.ORTHONORMAL if layer.recurrent else options.pre_init
        rng = generator(options.seed, layer.weight_name)
        return draw(kind, layer.layout, rng, factorisation.qr)

    names = [setup.plan.layers[index].layer.weight_value for index in layers]
    parts = Counter(setup.model.view(name).parameter for name in names)
    for name in names:
        # Of a parameter that is drawn part by part, each part is set into what is there.
        if parts[setup.model.view(name).parameter] == 1:
            weights.release(name)
    with factorisation.mapping() as map_:
        for done, (name, weight) in enumerate(zip(names, map_(drawn, layers), strict=True), 1):
            weights.set(name, weight)
            events.advance(done, len(layers))
