"""The layers' scales as values of the graph that is swept.

The same closed forms as in `core/solve.py`, for nodes of the graph that need scaled values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsuv_cli.core.choices import Bias
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import Plan, Tap
from lsuv_cli.core.scale_rule import Product
from lsuv_cli.core.solve import MeasuredProduct
from lsuv_cli.graph.builder import GRAPH, GraphBuilder, GraphValue
from lsuv_cli.layers.biases import per_channel_bias
from lsuv_cli.layers.layer_node import LayerNode


class ScaleUnknownError(Exception):
    """A scale is wanted that is only known once all batches have been measured."""


class GraphScales:
    """What brings the layers' measured products to their targets.

    Attributes:
        taps: for each layer that has been measured where its moments are fetched.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        layer_nodes: Sequence[LayerNode],
        plan: Plan,
        weights: Mapping[str, FloatArray],
        products: Mapping[int, MeasuredProduct],
        scale_is_final: Mapping[int, Float64Array],
        active: Sequence[int],
        *,
        single_batch: bool,
    ) -> None:
        """Begin without a layer.

        Args:
            builder: the graph.
            layer_nodes: the model's layers.
            plan: what is done with each.
            weights: a value for each floating-point initializer.
            products: of the layers that earlier segments have measured.
            scale_is_final: see `SweepState`.
            active: the layers that will be measured, in execution order.
            single_batch: whether what is measured here is all there is to measure.
        """
        self.builder = builder
        self.layer_nodes = layer_nodes
        self.plan = plan
        self.weights = weights
        self.products = products
        self.scale_is_final = scale_is_final
        self.active = active
        self.single_batch = single_batch
        self.taps: dict[int, Tap] = {}
        self.moments: dict[int, GraphValue] = {}
        self.pending_scales: dict[int, GraphValue] = {}
        self.scales: dict[int, GraphValue] = {}
        self.combined: dict[tuple[int, ...], GraphValue] = {}
        self.norm_moments: dict[int, tuple[str, str]] = {}

    def measured(self, index: int, moments: GraphValue, tap: Tap) -> None:
        """A layer's product has been tapped."""
        self.moments[index] = moments
        self.taps[index] = tap

    def pending_scale(self, index: int) -> GraphValue:
        """A layer's pending scale as a graph value; its nodes are only made if something wants it.

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
            if uses == [first] and first not in self.scale_is_final:
                # Without a scale of its own, the pending scale of its input goes on.
                incoming = self.taps[index].pending_layers
                fallback = self.combined_scale(incoming) if incoming else 1.0
                self.pending_scales[index] = self._own_pending_scale(index, fallback)
            else:
                self._share_scale(first, [use for use in uses if use <= index])
        return self.pending_scales[index]

    def _own_pending_scale(self, index: int, fallback: GraphValue | float) -> GraphValue:
        """The pending scale that a layer would have if its weight were used nowhere else."""
        mean, mean_square = self.mean_and_square(index)
        product = Product(mean, mean_square, self.kept_bias(index))
        return self.plan.rule.scale(product, self.plan.target(index), fallback, GRAPH)

    def _share_scale(self, first: int, uses: Sequence[int]) -> None:
        """Give a weight's uses the scale of the first whose output varies."""
        scale: GraphValue | None = None
        if first in self.scale_is_final:
            scale = self._constant(self.scale_is_final[first])
        for index in uses:
            if index in self.pending_scales:
                scale = self.scales[index]
                continue
            incoming = self.taps[index].pending_layers
            product = self.combined_scale(incoming) if incoming else None
            own = self._own_pending_scale(index, 0.0)
            own = own if product is None else own / product
            if scale is not None:
                own = GRAPH.where_greater(scale, 0.0, scale, own)
            scale = self.scales[index] = own
            applied = GRAPH.where_greater(scale, 0.0, scale, 1.0)
            self.pending_scales[index] = applied if product is None else applied * product

    def combined_scale(self, layers: tuple[int, ...]) -> GraphValue:
        """Return the product of some layers' pending scales as a graph value."""
        if layers not in self.combined:
            value = self.pending_scale(layers[0])
            for index in layers[1:]:
                value = value * self.pending_scale(index)
            self.combined[layers] = value
        return self.combined[layers]

    def mean_and_square(self, index: int) -> tuple[GraphValue, GraphValue]:
        """A layer's measured means and mean squares, (c,) each."""
        mean, mean_square = self.builder.halves(self.moments[index].name)
        return GraphValue(self.builder, mean), GraphValue(self.builder, mean_square)

    def mean_of(self, index: int) -> GraphValue:
        """The mean of each channel of a layer's product as it is represented, (c,).

        Raises:
            ScaleUnknownError: it is not known yet.
        """
        if index in self.products:
            return self._constant(self.products[index].mean)
        self._refuse_unless_single_batch()
        return self.mean_and_square(index)[0]

    def norm_mean_and_square(
        self, index: int, known: Moments | None
    ) -> tuple[GraphValue, GraphValue]:
        """Means and mean squares of what a normalisation normalises, (c,) each.

        Args:
            index: of the normalisation.
            known: what is known of it from before.

        Raises:
            ScaleUnknownError: they are not known yet.
        """
        if known is not None:
            return self._constant(known.mean), self._constant(known.mean_square)
        self._refuse_unless_single_batch()
        mean, mean_square = self.norm_moments[index]
        return GraphValue(self.builder, mean), GraphValue(self.builder, mean_square)

    def _refuse_unless_single_batch(self) -> None:
        if not self.single_batch:
            raise ScaleUnknownError

    def _constant(self, value: Float64Array) -> GraphValue:
        return GraphValue(self.builder, self.builder.constant(np.asarray(value, np.float64)))

    def kept_bias(self, index: int) -> GraphValue | None:
        """The layer's bias as it is added to each channel, (c,); None where it becomes zero."""
        layer_node = self.layer_nodes[index]
        if self.plan.layers[index].bias is not Bias.KEEP or layer_node.layer.bias_value is None:
            return None
        bias = per_channel_bias(layer_node, self.weights[layer_node.layer.bias_value])
        return self._constant(bias)
