"""A sweep cut into segments, and cut again where measurements turn out ill-conditioned."""

from __future__ import annotations

from collections.abc import Sequence

from lsuv_cli.core.indices import by_layer
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.instrument.segments import Segment, cut_steps
from lsuv_cli.instrument.state import SweepState, SweptModel
from lsuv_cli.instrument.steps import SweepStep, sweep_steps
from lsuv_cli.instrument.tracer import SweepTracer


class SweepCutter:
    """Cuts a sweep so that the scales that each segment needs are known when it begins."""

    def __init__(self, setup: Setup, swept: SweptModel, weights: Parameters) -> None:
        """Prepare to cut.

        Args:
            setup: the model, its plan and its samples.
            swept: the model and its plan.
            weights: the model's; only biases are looked at.
        """
        self._setup = setup
        self._swept = swept
        self._weights = weights

    def whole(self) -> list[Segment]:
        """Return the segments of a sweep, which ends at the last layer that is measured."""
        swept = self._swept
        products = [
            swept.layer_nodes[index].node.output[0]
            for index, planned in by_layer(swept.plan.layers)
            if planned.swept
        ]
        observed = [swept.layer_nodes[index].layer.output for index in swept.observed]
        wanted = [*products, *observed, *(norm.node.output[0] for norm in swept.norms)]
        nodes = swept.model.uses.needed(wanted)
        steps = sweep_steps(nodes, swept.layer_nodes, swept.plan, swept.norms)
        return self._cut(steps, SweepState())

    def cautious(self, segment: Segment, state: SweepState) -> list[Segment]:
        """Return the cautious segments that replace an ill-conditioned one.

        Args:
            segment: the one to replace.
            state: that when it begins.
        """
        return self._cut(segment.steps, state, later=segment.leaving, cautious=True)

    def again(self, segments: Sequence[Segment], state: SweepState) -> list[Segment]:
        """Cut what follows a cautious segment again, since other scales are pending on its values.

        Args:
            segments: those that follow; they stay where they are cautious too.
            state: that when they begin.
        """
        if not segments or segments[0].cautious:
            return list(segments)
        return self._cut([step for segment in segments for step in segment.steps], state)

    def _cut(
        self,
        steps: Sequence[SweepStep],
        state: SweepState,
        *,
        later: frozenset[str] = frozenset(),
        cautious: bool = False,
    ) -> list[Segment]:
        tracer = None
        if not self._swept.single_batch:
            tracer = SweepTracer(self._swept, self._weights, steps, state, cautious=cautious)
        return cut_steps(
            self._swept.model,
            steps,
            self._setup.max_segment_bytes,
            tracer,
            later=later,
            cautious=cautious,
        )
