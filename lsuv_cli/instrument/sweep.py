"""A graph that computes every layer's scale while the data passes through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx

from lsuv_cli.core.choices import Bias, Per
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.records import InstrumentedGraph, Specs, Tap
from lsuv_cli.graph.builder import GRAPH, GraphBuilder, GraphValue
from lsuv_cli.graph.nodes import captured_values, rename_captured
from lsuv_cli.graph.operators.operator import Homogeneity
from lsuv_cli.graph.operators.table import homogeneity_of, operator_of, scaled_outputs
from lsuv_cli.instrument.close import add_parameters, instrumented
from lsuv_cli.instrument.graph_scales import GraphScales
from lsuv_cli.instrument.graph_values import GraphValues
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.instrument.state import PendingScale, PendingScales, Replay, SweepState, SweptModel
from lsuv_cli.instrument.steps import StepKind, SweepStep
from lsuv_cli.instrument.taps import add_norm_tap, add_reading, add_tap, layer_axes
from lsuv_cli.layers.layer_node import LayerNode


def sweep_graph(
    about: SweptModel,
    weights: Mapping[str, FloatArray],
    segment: Segment,
    feeds: Specs,
    found: SweepState,
    replay: Replay | None = None,
) -> tuple[InstrumentedGraph, PendingScales]:
    """A graph that computes every planned layer's scale while the data passes through it.

    Args:
        about: the model, and what is done with it.
        weights: a value for each floating-point initializer; pre-initialised for the planned
            layers, but final where an earlier segment has scaled them.
        segment: the part of the model to sweep.
        feeds: dtype and rank of what will be fed: inputs, and what earlier segments hand on.
        found: what those have found.
        replay: segments before, whose work is done again because their results were not kept.

    Returns:
        The graph, and which of the values it hands on are not true.
    """
    sweep = Sweep(about, weights, segment, found if replay is None else replay.state)
    if replay is not None:
        sweep.observing = False
        for step in replay.steps:
            sweep.take(step)
        sweep.reenter(found)
    for step in segment.steps:
        sweep.take(step)
    return sweep.close(feeds), sweep.handed_on()


class Sweep:
    """Builds the sweeping graph, step by step.

    Every value of the model is represented in the new graph by `values`.
    """

    def __init__(
        self,
        about: SweptModel,
        weights: Mapping[str, FloatArray],
        segment: Segment,
        found: SweepState,
    ) -> None:
        self.model = about.model
        self.layer_nodes = about.layer_nodes
        self.plan = about.plan
        self.norms = about.norms
        self.single_batch = about.single_batch
        self.observed = {about.layer_nodes[index].layer.output: index for index in about.observed}
        self.observing = True
        self.weights = weights
        self.segment = segment
        self.found = found
        self.builder = GraphBuilder(about.model.opset)
        self.dtype = about.dtype
        self.values = GraphValues(
            self.builder, found.pending_scales, about.dtype, cautious=segment.cautious
        )
        self.norm_taps: dict[int, Tap] = {}
        self.product_moments: dict[str, GraphValue] = {}
        self.made: set[str] = set()
        self.active = [step.index for step in segment.steps if step.kind is StepKind.PRODUCT]
        self.scaling = self._scales(found)

    def _scales(self, found: SweepState) -> GraphScales:
        return GraphScales(
            self.builder,
            self.layer_nodes,
            self.plan,
            self.weights,
            found.products,
            found.scale_is_final,
            self.active,
            single_batch=self.single_batch,
        )

    def take(self, step: SweepStep) -> None:
        """Append a step.

        Raises:
            ScaleUnknownError: it wants a scale that is not known yet.
        """
        self.made.update(step.makes)
        match step.kind:
            case StepKind.NODE:
                self._other(step.node)
                for name in step.node.output:
                    if self.observing and name in self.observed:
                        self._observe(self.observed[name])
            case StepKind.PRODUCT:
                self._product(step.index)
            case StepKind.BIAS:
                self._bias(step.index)
            case StepKind.STATISTICS:
                if step.index not in self.found.norms:
                    self._measure_norm(step.index)
            case StepKind.NORMALISE:
                self._normalise(step.index)

    def reenter(self, found: SweepState) -> None:
        """Bring values to the factors with which they would have been handed on."""
        scaling = self._scales(found)
        for name in sorted(self.segment.entering):
            factor = found.pending_scales.get(name)
            if factor == self.values.pending_scale(name):
                continue
            true = self._scaled(name)
            if factor is not None:
                product = 1.0 / scaling.combined_scale(factor.layers)
                value = product.rounded(self.dtype(factor.layers[0]), factor.shape)
                true = self.builder.node("Mul", [true, value])
            self.values.set(name, true, factor)
        self.found, self.scaling = found, scaling
        self.observing = True

    def close(self, feeds: Specs) -> InstrumentedGraph:
        """Close the graph.

        Args:
            feeds: see `sweep_graph`.
        """
        made = sorted(self.segment.leaving & self.made)
        carried = {name: self.values.unscaled(name) for name in made}
        for name, current in carried.items():
            if current in feeds:
                # What is fed can't be fetched as it is.
                carried[name] = self.builder.node("Identity", [current])
        add_parameters(self.builder, self.builder.nodes, self.weights)
        return instrumented(
            self.builder, self.model, feeds, self.scaling.taps, self.norm_taps, carried
        )

    def handed_on(self) -> PendingScales:
        """Which of the values that the segment hands on are not true."""
        leaving = self.segment.leaving
        return {
            name: pending for name, pending in self.values.pending_scales.items() if name in leaving
        }

    def _product(self, index: int) -> None:
        layer_node = self.layer_nodes[index]
        builder = self.builder
        incoming = self.values.deferrable_scale(layer_node.data)
        raw = builder.new_name("product")
        is_done_again = index in self.found.products
        current = self._scaled if is_done_again else self._deferred
        inputs = [current(name) for name in layer_node.product_inputs[:2]]
        inputs += [self._scaled(name) for name in layer_node.product_inputs[2:]]
        if builder.opset < operator_of(layer_node.node).optional_addend_opset:
            inputs.append(builder.constant(np.zeros(1, self.dtype(index))))
        self._emit(layer_node.node, inputs, [raw])
        if is_done_again:
            # The weight is as it is going to stay, and so what it makes is true.
            self.values.set(layer_node.node.output[0], raw, None)
            return
        moments = add_tap(builder, layer_axes(layer_node), raw, centred=self.segment.cautious)
        if layer_node.layer.layout.is_convolution:
            self.product_moments[raw] = moments
        tap = Tap(
            add_reading(builder, moments, layer_node.layer.layout.out_channels),
            incoming.layers if incoming else (),
            layer_node.layer.layout.out_channels,
        )
        self.scaling.measured(index, moments, tap)
        factor = PendingScale(
            (index,),
            _channel_shape(layer_node) if self.plan.per is Per.CHANNEL else (),
            incoming.depth + 1 if incoming else 1,
        )
        self.values.set(layer_node.node.output[0], raw, factor)

    def _observe(self, index: int) -> None:
        """Measure the output of a layer that is not swept."""
        layer_node, builder = self.layer_nodes[index], self.builder
        value = self._scaled(layer_node.layer.output)
        moments = add_tap(builder, layer_axes(layer_node), value, centred=self.segment.cautious)
        channels = layer_node.layer.layout.out_channels
        self.scaling.taps[index] = Tap(add_reading(builder, moments, channels), (), channels)

    def _bias(self, index: int) -> None:
        layer_node = self.layer_nodes[index]
        product = layer_node.node.output[0]
        raw, factor = self.values.unscaled(product), self.values.pending_scale(product)
        if layer_node.layer.bias_value is not None:
            self.values.set(layer_node.layer.output, self._add_bias(index, raw), factor)
        else:
            self.values.set(product, self._add_foreign(index), None)

    def _measure_norm(self, index: int) -> None:
        norm, builder = self.norms[index], self.builder
        incoming = self.values.deferrable_scale(norm.node.input[0])
        x = self._deferred(norm.node.input[0])
        dtype = self.model.weight_values[norm.running_mean].dtype
        # What it normalises is often a convolution's product, which has been measured just before.
        moments = self.product_moments.get(x) or add_norm_tap(
            builder,
            x,
            norm.channels,
            pooled=dtype == np.float32,
            centred=self.segment.cautious,
        )
        reading = add_reading(builder, moments, norm.channels)
        layers = incoming.layers if incoming else ()
        self.norm_taps[index] = Tap(reading, layers, norm.channels)
        self.scaling.norm_moments[index] = builder.halves(moments.name)

    def _normalise(self, index: int) -> None:
        """Normalise with the statistics of the value that comes in, whatever factor it carries.

        With mean m and variance v of the true value, of which x still lacks a factor f:
        y = scale (x - m / f) f / sqrt(v + epsilon) + shift.
        """
        norm, builder = self.norms[index], self.builder
        known = self.found.norms.get(index)
        mean, square = self.scaling.norm_mean_and_square(index, known)
        incoming = self.values.deferrable_scale(norm.node.input[0])
        factor = self.scaling.combined_scale(incoming.layers) if incoming else None
        if factor and known is None:
            mean, square = mean * factor, square * factor * factor
        x = self._deferred(norm.node.input[0])
        dtype = self.model.weight_values[norm.running_mean].dtype
        variance = square - mean * mean
        variance = GRAPH.where_greater(variance, 0.0, variance, 0.0)
        gain = 1.0 / GRAPH.sqrt(variance + norm.epsilon)
        if factor:
            gain, mean = gain * factor, mean / factor
        scale = self._scaled(norm.scale)
        parts = [
            builder.node("Mul", [scale, gain.rounded(dtype)]),
            self._scaled(norm.shift),
            mean.rounded(dtype),
            builder.constant(np.ones(norm.channels, dtype)),
        ]
        builder.node("BatchNormalization", [x, *parts], name=norm.node.output[0], epsilon=0.0)

    def _add_bias(self, index: int, raw: str) -> str:
        """Add the bias to the unscaled product, divided by the factor that is still to come."""
        layer_node = self.layer_nodes[index]
        planned, kept = self.plan.layers[index], self.scaling.kept_bias(index)
        if kept is not None:
            addend = kept / self.scaling.pending_scale(index)
        elif planned.bias is Bias.CENTER:
            mean = self.scaling.mean_of(index)
            if not planned.centres:
                # One bias for all channels can only centre the blob.
                factor = self.scaling.pending_scale(index)
                mean = mean * 0.0 + GRAPH.mean(mean * factor) / factor
            addend = mean * -1.0
        else:
            return raw
        return self.builder.node(
            "Add", [raw, addend.rounded(self.dtype(index), _channel_shape(layer_node))]
        )

    def _add_foreign(self, index: int) -> str:
        """Add what the node itself adds but is no bias of its own; to the true value only."""
        layer_node = self.layer_nodes[index]
        addend = self._scaled(layer_node.addend)
        if layer_node.addend_factor != 1.0:
            factor = self.builder.constant(np.asarray(layer_node.addend_factor, self.dtype(index)))
            addend = self.builder.node("Mul", [addend, factor])
        if layer_node.layer.layout.is_convolution:
            shape = self.builder.constant(_channel_shape(layer_node))
            addend = self.builder.node("Reshape", [addend, shape])
        return self.builder.node("Add", [self._scaled(layer_node.node.output[0]), addend])

    def _other(self, node: onnx.NodeProto) -> None:
        """Append any node that is no planned layer, letting factors through where it can."""
        homogeneity = homogeneity_of(node)
        factors = [self.values.deferrable_scale(name) for name in node.input]
        factor: PendingScale | None = None
        names = list[str]()
        if homogeneity is Homogeneity.NONE:
            names = [self._scaled(name) for name in node.input]
        elif homogeneity is Homogeneity.FIRST_INPUT:
            names = [self._deferred(node.input[0]), *map(self._scaled, node.input[1:])]
            factor = factors[0]
        elif homogeneity is Homogeneity.EACH_INPUT:
            names = [self._deferred(name) for name in node.input]
            parts = [part for part in factors if part is not None]
            if parts:
                layers = tuple(sorted(index for part in parts for index in part.layers))
                factor = PendingScale(layers, (), sum(part.depth for part in parts))
        elif homogeneity is Homogeneity.JOINT:
            names, factor = self._join(node, factors)
        captured = {name: self._scaled(name) for name in captured_values(node)}
        self._emit(node, names, node.output)
        rename_captured(self.builder.nodes[-1], captured)
        if factor is not None:
            self.values.set_pending(scaled_outputs(node), factor)

    def _join(
        self, node: onnx.NodeProto, factors: Sequence[PendingScale | None]
    ) -> tuple[list[str], PendingScale | None]:
        """Bring all inputs to the first one's factor, or to true values where one is true."""
        common = factors[0]
        if common is None or None in factors:
            return [self._scaled(name) for name in node.input], None
        names = []
        depth = common.depth
        for name, factor in zip(node.input, factors, strict=True):
            current = self._deferred(name)
            if factor is not None and factor.layers != common.layers:
                ratio = self.scaling.combined_scale(factor.layers) / self.scaling.combined_scale(
                    common.layers
                )
                current = self.builder.node(
                    "Mul", [current, ratio.rounded(self.dtype(common.layers[0]))]
                )
                depth = max(depth, factor.depth)
            names.append(current)
        return names, PendingScale(common.layers, (), depth)

    def _emit(self, node: onnx.NodeProto, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs)
        copy.output.extend(outputs)
        self.builder.nodes.append(copy)

    def _deferred(self, name: str) -> str:
        return self.values.deferred(name, self.scaling)

    def _scaled(self, name: str) -> str:
        return self.values.scaled(name, self.scaling)


def _channel_shape(layer_node: LayerNode) -> tuple[int, ...]:
    """The shape that broadcasts (c,) against the layer's output."""
    return (layer_node.layer.layout.out_channels, *(1,) * (-layer_node.channel_axis - 1))
