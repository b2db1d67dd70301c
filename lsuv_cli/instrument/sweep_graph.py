"""The graph of a sweep: it computes each layer's scale while the data passes through it."""

from __future__ import annotations

from collections.abc import Mapping

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.measurements import InstrumentedGraph
from lsuv_cli.core.records import Specs
from lsuv_cli.instrument.close import add_parameters, instrumented
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.instrument.state import PendingScales, Replay, SweepState, SweptModel
from lsuv_cli.instrument.steps import StepKind, SweepStep
from lsuv_cli.instrument.sweep_biases import add_bias
from lsuv_cli.instrument.sweep_context import SweepContext
from lsuv_cli.instrument.sweep_nodes import add_node
from lsuv_cli.instrument.sweep_norms import measure_norm, normalise
from lsuv_cli.instrument.sweep_products import add_product, observe_output


def sweep_graph(
    swept: SweptModel,
    weights: Mapping[str, FloatArray],
    segment: Segment,
    feeds: Specs,
    state: SweepState,
    replay: Replay | None = None,
) -> tuple[InstrumentedGraph, PendingScales]:
    """Build the graph of a segment.

    Args:
        swept: the model and its plan.
        weights: a value for each floating-point initializer; pre-initialised for the planned
            layers, but final where an earlier segment has scaled them.
        segment: the part of the model to sweep.
        feeds: dtype and rank of what will be fed: inputs, and what earlier segments pass on.
        state: that when the segment begins.
        replay: segments before, which are run again because their results were not kept.

    Returns:
        The graph, and the scales pending on the values that it passes on.
    """
    graph = SweepGraph(swept, weights, segment, state if replay is None else replay.state)
    if replay is not None:
        for step in replay.steps:
            graph.add(step, observing=False)
        graph.reenter(state)
    for step in segment.steps:
        graph.add(step)
    return graph.close(feeds), graph.passed_on()


class SweepGraph:
    """Builds the graph of a sweep, step by step."""

    def __init__(
        self,
        swept: SweptModel,
        weights: Mapping[str, FloatArray],
        segment: Segment,
        state: SweepState,
    ) -> None:
        """Begin without a step.

        Args:
            swept: the model and its plan.
            weights: a value for each floating-point initializer.
            segment: the part of the model to sweep.
            state: that before the first step.
        """
        self._context = SweepContext(swept, weights, segment, state)
        self._observed = {swept.layer_nodes[i].layer.output: i for i in swept.observed}
        self._made: set[str] = set()

    def add(self, step: SweepStep, *, observing: bool = True) -> None:
        """Append a step.

        Args:
            step: the step.
            observing: whether layers that are not swept are measured.

        Raises:
            ScaleUnknownError: it needs a scale that is not known yet.
        """
        if step.kind is StepKind.NODE and self._made.issuperset(step.makes):
            return  # a constant, which every segment makes that reads it
        context = self._context
        self._made.update(step.makes)
        match step.kind:
            case StepKind.NODE:
                add_node(context, step.node)
                for name in step.node.output:
                    if observing and name in self._observed:
                        observe_output(context, self._observed[name])
            case StepKind.PRODUCT:
                add_product(context, step.layer)
            case StepKind.BIAS:
                add_bias(context, step.layer)
            case StepKind.STATISTICS:
                if step.norm not in context.state.norms:
                    measure_norm(context, step.norm)
            case StepKind.NORMALISE:
                normalise(context, step.norm)

    def reenter(self, state: SweepState) -> None:
        """Bring values to the pending scales with which they would have been passed on."""
        context = self._context
        before = context.scales
        context.enter(state)
        for name in sorted(context.segment.entering):
            pending = state.pending_scales.get(name)
            if pending == context.values.pending_scale(name):
                continue
            value = context.values.scaled(name, before)
            if pending is not None:
                inverse = 1.0 / context.scales.combined_scale(pending.layers)
                dtype = context.swept.dtype(pending.layers[0])
                rounded = inverse.rounded(dtype, pending.shape)
                value = context.builder.node("Mul", [value, rounded])
            context.values.set(name, value, pending)

    def close(self, feeds: Specs) -> InstrumentedGraph:
        """Close the graph.

        Args:
            feeds: see `sweep_graph`.
        """
        context = self._context
        made = sorted(context.segment.leaving & self._made)
        carried = {name: context.values.unscaled(name) for name in made}
        for name, value in carried.items():
            if value in feeds:
                # An input can't be fetched as an output.
                carried[name] = context.builder.node("Identity", [value])
        add_parameters(context.builder, context.builder.nodes, context.weights)
        return instrumented(
            context.builder, context.swept.model, feeds, context.taps, carried=carried
        )

    @property
    def pending_scales(self) -> PendingScales:
        """The scales pending on the values so far."""
        return self._context.values.pending_scales

    def passed_on(self) -> PendingScales:
        """Return the scales pending on the values that the segment passes on."""
        leaving = self._context.segment.leaving
        return {name: pending for name, pending in self.pending_scales.items() if name in leaving}
