"""A graph that computes every layer's scale while the data passes through it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from lsuv_cli.core.choices import Bias, Per
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Float64Array
from lsuv_cli.core.records import Feeds, InstrumentedGraph, Plan, Tap
from lsuv_cli.model.graph_builder import GRAPH, GraphBuilder, GraphValue
from lsuv_cli.model.graph_scales import GraphScales
from lsuv_cli.model.homogeneity import Rule, rule_of, scaled_outputs
from lsuv_cli.model.layers import LayerSite
from lsuv_cli.model.nodes import captured_values, rename_captured
from lsuv_cli.model.normal_form import OPTIONAL_GEMM_ADDEND_OPSET
from lsuv_cli.model.norms import NormSite
from lsuv_cli.model.onnx_model import OnnxModel
from lsuv_cli.model.segments import Segment
from lsuv_cli.model.subgraph import add_parameters, instrumented, needed_nodes
from lsuv_cli.model.taps import add_norm_tap, add_reading, add_tap, layer_axes

# Layers that a factor may pass before it is multiplied in. Unscaled activations drift by the
# product of the layers' gains; orthonormal layers with ReLU lose 0.7 each, so twelve stay far
# from the ends of float32's range. What drifts further is caught and swept again cautiously.
MAX_DEFERRED_LAYERS = 12


def sweeping_graph(
    model: OnnxModel,
    sites: Sequence[LayerSite],
    plan: Plan,
    weights: Mapping[str, FloatArray],
    segment: Segment,
    feeds: Feeds,
    settled: Mapping[int, Float64Array],
    norms: Sequence[NormSite] = (),
    *,
    cautious: bool,
) -> InstrumentedGraph:
    """A graph that computes every planned layer's scale while the data passes through it.

    Args:
        model: the model.
        sites: its layers, in execution order.
        plan: which of them are initialised, and how.
        weights: a value for each floating-point initializer; pre-initialised for the planned
            layers, but final where an earlier segment has scaled them.
        segment: the part of the model to sweep.
        feeds: what will be fed: the inputs, and the values that earlier segments hand on.
        settled: for each weight of an earlier segment, told by the index of its first use, 1 where
            that has decided its scale and 0 elsewhere, like its scale.
        norms: batch normalisations that are to normalise with the samples' own statistics.
        cautious: multiply each scale into the layer's output at once and measure around the mean,
            as the algorithm is written, instead of deferring and measuring in one pass.
    """
    sweep = _Sweep(model, sites, plan, weights, segment, settled, norms, cautious=cautious)
    return sweep.build(feeds)


@dataclass(frozen=True, slots=True)
class _Factor:
    """What a value must be multiplied by to be true.

    Attributes:
        layers: the layers whose factors, multiplied, are this one.
        shape: what the factor is reshaped to before it multiplies; () for a scalar.
        depth: how many layers it has passed.
    """

    layers: tuple[int, ...]
    shape: tuple[int, ...]
    depth: int


class _Sweep:
    """Builds the sweeping graph, node by node.

    Every value of the model is represented in the new graph by one of the same name, or by
    `renamed`; `factors` holds what that must be multiplied by to be true.
    """

    def __init__(
        self,
        model: OnnxModel,
        sites: Sequence[LayerSite],
        plan: Plan,
        weights: Mapping[str, FloatArray],
        segment: Segment,
        settled: Mapping[int, Float64Array],
        norms: Sequence[NormSite],
        *,
        cautious: bool,
    ) -> None:
        self.model = model
        self.sites = sites
        self.plan = plan
        self.weights = weights
        self.segment = segment
        self.norms = norms
        self.cautious = cautious
        self.builder = GraphBuilder(model.opset)
        self.renamed: dict[str, str] = {}
        self.factors: dict[str, _Factor] = {}
        self.true_names: dict[str, str] = {}
        made = segment.makes()
        self.active = [
            index
            for index, planned in enumerate(plan.layers)
            if planned.swept and sites[index].node.output[0] in made
        ]
        self.scaling = GraphScales(self.builder, sites, plan, weights, settled, self.active)
        self.norm_taps: dict[int, Tap] = {}

    def build(self, feeds: Feeds) -> InstrumentedGraph:
        """Walk the segment's nodes in execution order."""
        active = {self.sites[index].node.output[0]: index for index in self.active}
        absorbed = {
            site.bias_node.output[0]
            for site in map(self.sites.__getitem__, self.active)
            if site.bias_node is not None
        }
        norms = {site.node.output[0]: index for index, site in enumerate(self.norms)}
        handed_on = sorted(self.segment.carried & self.segment.makes())
        for node in needed_nodes(self.segment.nodes, [*active, *norms, *handed_on]):
            if node.output[0] in active:
                self._layer(active[node.output[0]])
            elif node.output[0] in norms:
                self._norm(norms[node.output[0]])
            elif node.output[0] not in absorbed:
                self._other(node)
        carried = {name: self._true_value(name) for name in handed_on}
        add_parameters(self.builder, self.builder.nodes, self.weights)
        return instrumented(
            self.builder, self.model, feeds, self.scaling.taps, self.norm_taps, carried
        )

    def _layer(self, index: int) -> None:
        site = self.sites[index]
        builder = self.builder
        incoming = self._carried(site.data)
        raw = builder.new_name("product")
        inputs = [self._current(name) for name in site.node.input[:2]]
        if site.node.op_type == "Gemm" and builder.opset < OPTIONAL_GEMM_ADDEND_OPSET:
            inputs.append(builder.constant(np.zeros(1, self._dtype(index))))
        self._emit(site.node, inputs, [raw])
        moments = add_tap(builder, layer_axes(site), raw, centred=self.cautious)
        tap = Tap(
            add_reading(builder, moments, site.layer.layout.out_channels),
            incoming.layers if incoming else (),
        )
        self.scaling.measured(index, moments, tap)
        factor = _Factor(
            (index,),
            _channel_shape(site) if self.plan.per is Per.CHANNEL else (),
            incoming.depth + 1 if incoming else 1,
        )
        product = site.node.output[0]
        self._represent(product, raw, factor)
        if site.layer.bias is not None:
            self._represent(site.layer.output, self._add_bias(index, raw), factor)
        elif site.addend:
            self._represent(product, self._add_foreign(index), None)

    def _norm(self, index: int) -> None:
        """Normalise with the statistics of the value that comes in, whatever factor it carries.

        With a factor f still to come: y = scale (f x - f m) / sqrt(f^2 v + epsilon) + shift.
        """
        site, builder = self.norms[index], self.builder
        incoming = self._carried(site.node.input[0])
        x = self._current(site.node.input[0])
        dtype = self.model.weights[site.running_mean].dtype
        moments = add_norm_tap(
            builder, x, site.channels, pooled=dtype == np.float32, centred=self.cautious
        )
        self.norm_taps[index] = Tap(
            add_reading(builder, moments, site.channels), incoming.layers if incoming else ()
        )
        halves = [GraphValue(builder, name) for name in builder.halves(moments.name)]
        mean, variance = halves[0], halves[1] - halves[0] * halves[0]
        variance = GRAPH.where_greater(variance, 0.0, variance, 0.0)
        gain = 1.0 / GRAPH.sqrt(variance + site.epsilon)
        if incoming:
            factor = self.scaling.product(incoming.layers)
            gain = factor / GRAPH.sqrt(variance * factor * factor + site.epsilon)
        scale = self._true_value(site.scale)
        parts = [
            builder.node("Mul", [scale, gain.rounded(dtype)]),
            self._true_value(site.shift),
            mean.rounded(dtype),
            builder.constant(np.ones(site.channels, dtype)),
        ]
        builder.node("BatchNormalization", [x, *parts], name=site.node.output[0], epsilon=0.0)

    def _dtype(self, index: int) -> np.dtype[Any]:
        """The dtype a layer is computed in, and everything that carries its factor."""
        return self.model.weights[self.sites[index].layer.weight].dtype

    def _add_bias(self, index: int, raw: str) -> str:
        """Add the bias to the unscaled product, divided by the factor that is still to come."""
        site = self.sites[index]
        planned, kept = self.plan.layers[index], self.scaling.kept_bias(index)
        if kept is not None:
            addend = kept / self.scaling.factor_of(index)
        elif planned.bias is Bias.CENTER:
            mean, _ = self.scaling.mean_and_square(index)
            if not planned.centres:
                # One bias for all channels can only centre the blob.
                factor = self.scaling.factor_of(index)
                mean = mean * 0.0 + GRAPH.mean(mean * factor) / factor
            addend = mean * -1.0
        else:
            return raw
        return self.builder.node(
            "Add", [raw, addend.rounded(self._dtype(index), _channel_shape(site))]
        )

    def _add_foreign(self, index: int) -> str:
        """Add what the node itself adds but is no bias of its own; to the true value only."""
        site = self.sites[index]
        addend = self._true_value(site.addend)
        if site.addend_factor != 1.0:
            factor = self.builder.constant(np.asarray(site.addend_factor, self._dtype(index)))
            addend = self.builder.node("Mul", [addend, factor])
        if site.layer.layout.is_convolution:
            shape = self.builder.constant(_channel_shape(site))
            addend = self.builder.node("Reshape", [addend, shape])
        return self.builder.node("Add", [self._true_value(site.node.output[0]), addend])

    def _other(self, node: onnx.NodeProto) -> None:
        """Append any node that is no planned layer, letting factors through where it can."""
        rule = rule_of(node)
        factors = [self._carried(name) for name in node.input]
        factor: _Factor | None = None
        names = [self._true_value(name) for name in node.input] if rule is Rule.NONE else None
        if rule is Rule.FIRST:
            names = [self._current(node.input[0]), *map(self._true_value, node.input[1:])]
            factor = factors[0]
        elif rule is Rule.PRODUCT:
            names = [self._current(name) for name in node.input]
            parts = [part for part in factors if part is not None]
            if parts:
                layers = tuple(sorted(index for part in parts for index in part.layers))
                factor = _Factor(layers, (), sum(part.depth for part in parts))
        elif rule is Rule.JOIN:
            names, factor = self._join(node, factors)
        captured = {name: self._true_value(name) for name in captured_values(node)}
        self._emit(node, names or [], node.output)
        rename_captured(self.builder.nodes[-1], captured)
        if factor is not None:
            for output in scaled_outputs(node):
                self.factors[output] = factor

    def _join(
        self, node: onnx.NodeProto, factors: Sequence[_Factor | None]
    ) -> tuple[list[str], _Factor | None]:
        """Bring all inputs to the first one's factor, or to true values where one is true."""
        common = factors[0]
        if common is None or None in factors:
            return [self._true_value(name) for name in node.input], None
        names = []
        depth = common.depth
        for name, factor in zip(node.input, factors, strict=True):
            current = self._current(name)
            if factor is not None and factor.layers != common.layers:
                ratio = self.scaling.product(factor.layers) / self.scaling.product(common.layers)
                current = self.builder.node(
                    "Mul", [current, ratio.rounded(self._dtype(common.layers[0]))]
                )
                depth = max(depth, factor.depth)
            names.append(current)
        return names, _Factor(common.layers, (), depth)

    def _emit(self, node: onnx.NodeProto, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs)
        copy.output.extend(outputs)
        self.builder.nodes.append(copy)

    def _represent(self, name: str, value: str, factor: _Factor | None) -> None:
        self.renamed[name] = value
        self.true_names.pop(name, None)
        self.factors.pop(name, None)
        if factor is not None:
            self.factors[name] = factor

    def _carried(self, name: str) -> _Factor | None:
        """The factor that a value may go on carrying; None where it is true or must become so."""
        factor = self.factors.get(name)
        limit = 1 if self.cautious else MAX_DEFERRED_LAYERS
        return None if factor is None or factor.shape or factor.depth >= limit else factor

    def _current(self, name: str) -> str:
        """What stands for a value, unscaled where it may go on so."""
        if self._carried(name) is None:
            return self._true_value(name)
        return self.renamed.get(name, name)

    def _true_value(self, name: str) -> str:
        """A value times its factor; multiplied once, however many nodes want it."""
        current = self.renamed.get(name, name)
        if name not in self.factors:
            return current
        if name not in self.true_names:
            factor = self.factors[name]
            true = self.scaling.product(factor.layers)
            dtype = self._dtype(factor.layers[0])
            self.true_names[name] = self.builder.node(
                "Mul", [current, true.rounded(dtype, factor.shape)]
            )
        return self.true_names[name]


def _channel_shape(site: LayerSite) -> tuple[int, ...]:
    """The shape that broadcasts (c,) against the layer's output."""
    return (site.layer.layout.out_channels, *(1,) * (-site.channel_axis - 1))
