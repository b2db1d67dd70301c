"""Where a sweep over several batches must stop until a scale is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsuv_cli.core.choices import Per
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.solve import Known
from lsuv_cli.instrument.scales import ScaleWantedError
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.instrument.state import Found, Sweepable
from lsuv_cli.instrument.steps import Kind, Step
from lsuv_cli.instrument.sweep import Sweep


class SweepTracer:
    """Builds the graphs of a sweep without running them, to see what wants a scale; a `Tracer`."""

    def __init__(
        self,
        about: Sweepable,
        weights: Mapping[str, FloatArray],
        steps: Sequence[Step],
        found: Found,
        *,
        cautious: bool,
    ) -> None:
        """Begin before the first step.

        Args:
            about: the model, and what is done with it.
            weights: a value for each floating-point initializer; only biases are looked at.
            steps: all there are.
            found: what is known before the first.
            cautious: see `Segment`.
        """
        self._about = about
        self._weights = weights
        nothing: frozenset[str] = frozenset()
        self._segment = Segment(tuple(steps), nothing, nothing, nothing, cautious)
        self._layers = dict(found.layers)
        self._norms = dict(found.norms)
        self._sweep = Sweep(about, weights, self._segment, found)
        self._taken: list[Step] = []

    def takes(self, step: Step) -> bool:
        """Whether the segment can go on with a step, which wants no scale found in it."""
        try:
            self._sweep.take(step)
        except ScaleWantedError:
            return False
        self._taken.append(step)
        return True

    def end(self) -> None:
        """From here on the scales of the layers so far are known; what they are does not matter."""
        for step in self._taken:
            if step.kind is Kind.PRODUCT:
                channels = self._about.layer_nodes[step.index].layer.layout.out_channels
                shape = (channels,) if self._about.plan.per is Per.CHANNEL else ()
                self._layers[step.index] = Known(np.ones(shape), np.zeros(channels))
            elif step.kind is Kind.STATISTICS:
                channels = self._about.norms[step.index].channels
                self._norms[step.index] = Moments(1, np.zeros(channels), np.ones(channels))
        self._taken = []
        found = Found(self._layers, self._norms, {}, self._sweep.values.factors)
        self._sweep = Sweep(self._about, self._weights, self._segment, found)
