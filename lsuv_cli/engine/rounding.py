"""Measures by how much rounding moves the variance of each layer's output.

Every number of every weight is moved by its last digit, up or down at random, and the samples pass
again. That is what rounding does on its way through the network, whatever the inputs are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from lsuv_cli.core.choices import Per
from lsuv_cli.core.events import Events
from lsuv_cli.core.indices import LayerIndex
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.rounding import moved
from lsuv_cli.engine.measure_outputs import measure_outputs
from lsuv_cli.engine.setup import Setup

# One may come out small by chance.
_MEASUREMENTS = 2


def measure_rounding(
    setup: Setup,
    weights: Mapping[str, FloatArray],
    measured: Mapping[LayerIndex, Moments],
    events: Events,
) -> dict[LayerIndex, float]:
    """Return by how much rounding moves the variance of each layer's output, relative to it.

    Args:
        setup: the model, its plan and its samples.
        weights: the model's; not changed.
        measured: the moments of the layers' outputs with these weights.
        events: receives progress events.
    """
    per_channel = setup.plan.per is Per.CHANNEL
    found = dict.fromkeys(measured, 0.0)
    for number in range(_MEASUREMENTS):
        events.stage("measuring what rounding does", len(setup.batches.counts))
        again = measure_outputs(setup, _Moved(weights, number), events)
        for index in measured.keys() & again.keys():
            change = again[index].change_from(measured[index], per_channel=per_channel)
            found[index] = max(found[index], change)
    return found


class _Moved(Mapping[str, FloatArray]):
    """Weights with every number moved by its last digit; each time a name is read the same."""

    def __init__(self, weights: Mapping[str, FloatArray], number: int) -> None:
        self._weights = weights
        self._number = number

    def __getitem__(self, name: str) -> FloatArray:
        generator = np.random.default_rng((self._number, zlib.crc32(name.encode())))
        return moved(self._weights[name], generator)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)
