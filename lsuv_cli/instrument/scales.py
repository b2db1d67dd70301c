"""The layers' scales as values of the graph that is swept.

The same closed forms as in `core/solve.py`, for what in the graph wants true values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lsuv_cli.core.choices import Bias, Per
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Float64Array, Moments, closed_form_factor
from lsuv_cli.core.records import Plan, Tap
from lsuv_cli.core.solve import Known
from lsuv_cli.graph.builder import GRAPH, GraphBuilder, GraphValue
from lsuv_cli.layers.biases import per_channel_bias
from lsuv_cli.layers.layer_node import LayerNode


class ScaleWantedError(Exception):
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
        known: Mapping[int, Known],
        settled: Mapping[int, Float64Array],
        active: Sequence[int],
        *,
        alone: bool,
    ) -> None:
        """Begin without a layer.

        Args:
            builder: the graph.
            layer_nodes: the model's layers.
            plan: what is done with each.
            weights: a value for each floating-point initializer.
            known: what is known of the layers that were measured before.
            settled: see `Found`.
            active: the layers that will be measured, in execution order.
            alone: whether what is measured here is all there is to measure.
        """
        self.builder = builder
        self.layer_nodes = layer_nodes
        self.plan = plan
        self.weights = weights
        self.known = known
        self.settled = settled
        self.active = active
        self.alone = alone
        self.taps: dict[int, Tap] = {}
        self.moments: dict[int, GraphValue] = {}
        self.layer_factors: dict[int, GraphValue] = {}
        self.scales: dict[int, GraphValue] = {}
        self.products: dict[tuple[int, ...], GraphValue] = {}
        self.norm_moments: dict[int, tuple[str, str]] = {}

    def measured(self, index: int, moments: GraphValue, tap: Tap) -> None:
        """A layer's product has been tapped."""
        self.moments[index] = moments
        self.taps[index] = tap

    def factor_of(self, index: int) -> GraphValue:
        """A layer's factor as a graph value; its nodes are only made if something wants it.

        Raises:
            ScaleWantedError: it is not known yet.
        """
        if index in self.known:
            self.layer_factors.setdefault(index, self._constant(self.known[index].factor))
        if index not in self.layer_factors:
            self._refuse_unless_alone()
            first = self.plan.layers[index].first_use
            uses = [i for i in self.active if self.plan.layers[i].first_use == first]
            if uses == [first] and first not in self.settled:
                # Without a scale the factor that came in goes on.
                incoming = self.taps[index].incoming
                fallback = self.product(incoming) if incoming else 1.0
                self.layer_factors[index] = self._own_factor(index, fallback)
            else:
                self._share_scale(first, [use for use in uses if use <= index])
        return self.layer_factors[index]

    def _own_factor(self, index: int, fallback: GraphValue | float) -> GraphValue:
        """The factor that a layer would have if its weight were used nowhere else."""
        planned = self.plan.layers[index]
        mean, mean_square = self.mean_and_square(index)
        return closed_form_factor(
            mean,
            mean_square,
            self.kept_bias(index),
            planned.target_std,
            fallback,
            GRAPH,
            per_channel=self.plan.per is Per.CHANNEL,
            centred=planned.centres,
        )

    def _share_scale(self, first: int, uses: Sequence[int]) -> None:
        """The factors of a weight's uses: the scale of the first that varies, on what comes in."""
        scale: GraphValue | None = None
        if first in self.settled:
            scale = self._constant(self.settled[first])
        for index in uses:
            if index in self.layer_factors:
                scale = self.scales[index]
                continue
            incoming = self.taps[index].incoming
            product = self.product(incoming) if incoming else None
            own = self._own_factor(index, 0.0)
            own = own if product is None else own / product
            if scale is not None:
                own = GRAPH.where_greater(scale, 0.0, scale, own)
            scale = self.scales[index] = own
            applied = GRAPH.where_greater(scale, 0.0, scale, 1.0)
            self.layer_factors[index] = applied if product is None else applied * product

    def product(self, layers: tuple[int, ...]) -> GraphValue:
        """The product of some layers' factors as a graph value."""
        if layers not in self.products:
            value = self.factor_of(layers[0])
            for index in layers[1:]:
                value = value * self.factor_of(index)
            self.products[layers] = value
        return self.products[layers]

    def mean_and_square(self, index: int) -> tuple[GraphValue, GraphValue]:
        """A layer's measured means and mean squares, (c,) each."""
        mean, mean_square = self.builder.halves(self.moments[index].name)
        return GraphValue(self.builder, mean), GraphValue(self.builder, mean_square)

    def mean_of(self, index: int) -> GraphValue:
        """The mean of each channel of a layer's product as it is represented, (c,).

        Raises:
            ScaleWantedError: it is not known yet.
        """
        if index in self.known:
            return self._constant(self.known[index].mean)
        self._refuse_unless_alone()
        return self.mean_and_square(index)[0]

    def norm_mean_and_square(
        self, index: int, known: Moments | None
    ) -> tuple[GraphValue, GraphValue]:
        """Means and mean squares of what a normalisation normalises, (c,) each.

        Args:
            index: of the normalisation.
            known: what is known of it from before.

        Raises:
            ScaleWantedError: they are not known yet.
        """
        if known is not None:
            return self._constant(known.mean), self._constant(known.mean_square)
        self._refuse_unless_alone()
        mean, mean_square = self.norm_moments[index]
        return GraphValue(self.builder, mean), GraphValue(self.builder, mean_square)

    def _refuse_unless_alone(self) -> None:
        if not self.alone:
            raise ScaleWantedError

    def _constant(self, value: Float64Array) -> GraphValue:
        return GraphValue(self.builder, self.builder.constant(np.asarray(value, np.float64)))

    def kept_bias(self, index: int) -> GraphValue | None:
        """The layer's bias as it is added to each channel, (c,); None where it becomes zero."""
        layer_node = self.layer_nodes[index]
        if self.plan.layers[index].bias is not Bias.KEEP or layer_node.layer.bias is None:
            return None
        bias = per_channel_bias(layer_node, self.weights[layer_node.layer.bias])
        return self._constant(bias)
