"""Where a sweep over several batches must stop until a scale is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsuv_cli.core.choices import Per
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.solve import MeasuredProduct
from lsuv_cli.instrument.graph_scales import ScaleUnknownError
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.instrument.state import SweepState, SweptModel
from lsuv_cli.instrument.steps import StepKind, SweepStep
from lsuv_cli.instrument.sweep import Sweep


class SweepTracer:
    """Builds the graphs of a sweep without running them, to see what wants a scale; a `Tracer`."""

    def __init__(
        self,
        about: SweptModel,
        weights: Mapping[str, FloatArray],
        steps: Sequence[SweepStep],
        found: SweepState,
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
        self._products = dict(found.products)
        self._norms = dict(found.norms)
        self._sweep = Sweep(about, weights, self._segment, found)
        self._taken: list[SweepStep] = []

    def takes(self, step: SweepStep) -> bool:
        """Whether the segment can go on with a step, which wants no scale found in it."""
        try:
            self._sweep.take(step)
        except ScaleUnknownError:
            return False
        self._taken.append(step)
        return True

    def end(self) -> None:
        """From here on the scales of the layers so far are known; what they are does not matter."""
        for step in self._taken:
            if step.kind is StepKind.PRODUCT:
                channels = self._about.layer_nodes[step.index].layer.layout.out_channels
                shape = (channels,) if self._about.plan.per is Per.CHANNEL else ()
                self._products[step.index] = MeasuredProduct(np.ones(shape), np.zeros(channels))
            elif step.kind is StepKind.STATISTICS:
                channels = self._about.norms[step.index].channels
                self._norms[step.index] = Moments(1, np.zeros(channels), np.ones(channels))
        self._taken = []
        found = SweepState(self._products, self._norms, {}, self._sweep.values.pending_scales)
        self._sweep = Sweep(self._about, self._weights, self._segment, found)
