"""The layers' scales, computed within the graph of a sweep.

`core/scale_rule.py` has the formulas; `core/solve.py` evaluates them with numpy, and this module
builds them as nodes where the graph itself needs scaled values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsuv_cli.core.choices import Bias
from lsuv_cli.core.indices import LayerIndex, NormIndex, WeightIndex
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.scale_rule import Product
from lsuv_cli.graph.builder import GRAPH, GraphBuilder, GraphValue
from lsuv_cli.instrument.state import SweepState, SweptModel
from lsuv_cli.layers.biases import per_channel_bias


class ScaleUnknownError(Exception):
    """A scale is needed that is only known once all batches have been measured."""


class GraphScales:
    """The scales that bring the layers' measured products to their targets."""

    def __init__(
        self,
        builder: GraphBuilder,
        swept: SweptModel,
        weights: Mapping[str, FloatArray],
        state: SweepState,
        active: Sequence[LayerIndex],
    ) -> None:
        """Begin without a layer.

        Args:
            builder: the graph.
            swept: the model, and what is done with it.
            weights: a value for each floating-point initializer.
            state: what is known from earlier segments.
            active: the layers that will be measured, in execution order.
        """
        self.builder = builder
        self.swept = swept
        self.plan = swept.plan
        self.weights = weights
        self.products = state.products
        self.scale_is_final = state.scale_is_final
        self.active = active
        self.moments: dict[LayerIndex, GraphValue] = {}
        self.pending_layers: dict[LayerIndex, tuple[LayerIndex, ...]] = {}
        self.pending_scales: dict[LayerIndex, GraphValue] = {}
        self.scales: dict[LayerIndex, GraphValue] = {}
        self.combined: dict[tuple[LayerIndex, ...], GraphValue] = {}
        self.norm_moments: dict[NormIndex, tuple[str, str]] = {}

    def add_measured(
        self, index: LayerIndex, moments: GraphValue, pending_layers: tuple[LayerIndex, ...]
    ) -> None:
        """Take the moments of a layer's product; see `Tap` for the layers pending on it."""
        self.moments[index] = moments
        self.pending_layers[index] = pending_layers

    def pending_scale(self, index: LayerIndex) -> GraphValue:
        """Return a layer's pending scale; its nodes are only added if a step needs it.

        Raises:
            ScaleUnknownError: it is not known yet.
        """
        if index in self.products:
            self.pending_scales.setdefault(
                index, self._constant(self.products[index].pending_scale)
            )
        if index not in self.pending_scales:
            self._refuse_unless_single_batch()
            first = self.plan.layers[index].first_use
            uses = [i for i in self.active if self.plan.layers[i].first_use == first]
            if uses == [LayerIndex(first)] and first not in self.scale_is_final:
                # Without a scale of its own, the pending scale of its input goes on.
                incoming = self.pending_layers[index]
                fallback = self.combined_scale(incoming) if incoming else 1.0
                self.pending_scales[index] = self._own_pending_scale(index, fallback)
            else:
                self._share_scale(first, [use for use in uses if use <= index])
        return self.pending_scales[index]

    def _own_pending_scale(self, index: LayerIndex, fallback: GraphValue | float) -> GraphValue:
        """Return the pending scale of a layer if its weight were used nowhere else."""
        mean, mean_square = self.mean_and_square(index)
        product = Product(mean, mean_square, self.kept_bias(index))
        return self.plan.rule.scale(product, self.plan.target(index), fallback, GRAPH)

    def _share_scale(self, first: WeightIndex, uses: Sequence[LayerIndex]) -> None:
        """Give a weight's uses the scale of the first whose output varies."""
        scale: GraphValue | None = None
        if first in self.scale_is_final:
            scale = self._constant(self.scale_is_final[first])
        for index in uses:
            if index in self.pending_scales:
                scale = self.scales[index]
                continue
            incoming = self.pending_layers[index]
            product = self.combined_scale(incoming) if incoming else None
            own = self._own_pending_scale(index, 0.0)
            own = own if product is None else own / product
            if scale is not None:
                own = GRAPH.where_greater(scale, 0.0, scale, own)
            scale = self.scales[index] = own
            applied = GRAPH.where_greater(scale, 0.0, scale, 1.0)
            self.pending_scales[index] = applied if product is None else applied * product

    def combined_scale(self, layers: tuple[LayerIndex, ...]) -> GraphValue:
        """Return the product of some layers' pending scales as a graph value."""
        if layers not in self.combined:
            value = self.pending_scale(layers[0])
            for index in layers[1:]:
                value = value * self.pending_scale(index)
            self.combined[layers] = value
        return self.combined[layers]

    def mean_and_square(self, index: LayerIndex) -> tuple[GraphValue, GraphValue]:
        """Return the measured means and mean squares of a layer's product, (c,) each."""
        mean, mean_square = self.builder.halves(self.moments[index].name)
        return GraphValue(self.builder, mean), GraphValue(self.builder, mean_square)

    def mean_of(self, index: LayerIndex) -> GraphValue:
        """Return the mean of each channel of a layer's unscaled product, (c,).

        Raises:
            ScaleUnknownError: it is not known yet.
        """
        if index in self.products:
            return self._constant(self.products[index].mean)
        self._refuse_unless_single_batch()
        return self.mean_and_square(index)[0]

    def norm_mean_and_square(
        self, index: NormIndex, known: Moments | None
    ) -> tuple[GraphValue, GraphValue]:
        """Return the means and mean squares of a normalisation's input, (c,) each.

        Args:
            index: of the normalisation.
            known: its moments, where an earlier segment has measured it.

        Raises:
            ScaleUnknownError: they are not known yet.
        """
        if known is not None:
            return self._constant(known.mean), self._constant(known.mean_square)
        self._refuse_unless_single_batch()
        mean, mean_square = self.norm_moments[index]
        return GraphValue(self.builder, mean), GraphValue(self.builder, mean_square)

    def _refuse_unless_single_batch(self) -> None:
        if not self.swept.single_batch:
            raise ScaleUnknownError

    def _constant(self, value: Float64Array) -> GraphValue:
        return GraphValue(self.builder, self.builder.constant(np.asarray(value, np.float64)))

    def kept_bias(self, index: LayerIndex) -> GraphValue | None:
        """Return the bias that a layer keeps, (c,); None where it becomes zero."""
        layer_node = self.swept.layer_nodes[index]
        if self.plan.layers[index].bias is not Bias.KEEP or layer_node.layer.bias_value is None:
            return None
        bias = per_channel_bias(layer_node, self.weights[layer_node.layer.bias_value])
        return self._constant(bias)
