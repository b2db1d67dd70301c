"""Finds where a sweep over several batches must stop until a scale is known."""

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
from lsuv_cli.instrument.sweep_graph import SweepGraph


class SweepTracer:
    """Builds the graphs of a sweep without running them, to see which steps need a scale."""

    def __init__(
        self,
        swept: SweptModel,
        weights: Mapping[str, FloatArray],
        steps: Sequence[SweepStep],
        state: SweepState,
        *,
        cautious: bool,
    ) -> None:
        """Begin before the first step.

        Args:
            swept: the model and its plan.
            weights: a value for each floating-point initializer; only biases are looked at.
            steps: those to cut.
            state: that before the first.
            cautious: see `Segment`.
        """
        self._swept = swept
        self._weights = weights
        nothing: frozenset[str] = frozenset()
        self._segment = Segment(tuple(steps), nothing, nothing, nothing, cautious)
        self._products = dict(state.products)
        self._norms = dict(state.norms)
        self._graph = SweepGraph(swept, weights, self._segment, state)
        self._taken: list[SweepStep] = []

    def takes(self, step: SweepStep) -> bool:
        """Return whether a step needs no scale of the segment's own layers; see `Tracer`."""
        try:
            self._graph.add(step)
        except ScaleUnknownError:
            return False
        self._taken.append(step)
        return True

    def end(self) -> None:
        """End the segment, with any scales for its layers: their values do not matter."""
        for step in self._taken:
            if step.kind is StepKind.PRODUCT:
                channels = self._swept.layer_nodes[step.layer].layer.layout.out_channels
                shape = (channels,) if self._swept.plan.per is Per.CHANNEL else ()
                self._products[step.layer] = MeasuredProduct(np.ones(shape), np.zeros(channels))
            elif step.kind is StepKind.STATISTICS:
                channels = self._swept.norms[step.norm].channels
                self._norms[step.norm] = Moments(1, np.zeros(channels), np.ones(channels))
        self._taken = []
        state = SweepState(self._products, self._norms, {}, self._graph.pending_scales)
        self._graph = SweepGraph(self._swept, self._weights, self._segment, state)
