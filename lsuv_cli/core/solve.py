"""The scales that follow from the measurements of a sweep, in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lsuv_cli.core.choices import Bias, Status
from lsuv_cli.core.indices import LayerIndex, NormIndex, WeightIndex
from lsuv_cli.core.mathematics import NUMPY
from lsuv_cli.core.measurements import Measurement, Measurements
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import Plan, PlannedLayer
from lsuv_cli.core.scale_rule import Product, failure_of


@dataclass(frozen=True, slots=True)
class LayerSolution:
    """The solution of one layer.

    Attributes:
        moments: of the layer's product with the weight as it was, all layers before it being
            scaled.
        failure: the status and reason where no scale gives the layer its target.
    """

    moments: Moments
    failure: tuple[Status, str] | None


@dataclass(frozen=True, slots=True)
class MeasuredProduct:
    """The unscaled product of a layer, once all samples have been measured.

    Attributes:
        pending_scale: () or (c,): the unscaled product times this is the scaled one.
        mean: (c,) the mean of each channel of the unscaled product.
    """

    pending_scale: Float64Array
    mean: Float64Array


@dataclass(frozen=True, slots=True)
class SegmentSolution:
    """The scales that follow from the measurements in one segment.

    Attributes:
        layers: the solution of each swept layer.
        scales: each weight's scale, () or (c,) float64, positive: final weight over the weight that
            was measured; 1 where no scale was found.
        scaled_at: the layer that decided each weight's scale.
        scale_is_final: for each weight, 1 where its scale is final, else 0; shaped like its scale.
        norms: the moments of what each normalisation takes in, scaled.
        products: the measured product of each layer so far.
        outputs: the moments that each measured layer's output has with the scales and biases that
            were found, as long as the node adds nothing else; without layers that no sample
            reaches.
    """

    layers: Mapping[LayerIndex, LayerSolution]
    scales: Mapping[WeightIndex, Float64Array]
    scaled_at: Mapping[WeightIndex, LayerIndex]
    scale_is_final: Mapping[WeightIndex, Float64Array]
    norms: Mapping[NormIndex, Moments]
    products: Mapping[LayerIndex, MeasuredProduct]
    outputs: Mapping[LayerIndex, Moments]


def solve(
    plan: Plan,
    measured: Measurements,
    biases: Mapping[LayerIndex, Float64Array],
    scale_is_final: Mapping[WeightIndex, Float64Array],
    products: Mapping[LayerIndex, MeasuredProduct],
) -> SegmentSolution:
    """Return the scale of every swept layer, in closed form.

    Args:
        plan: the layers and their targets.
        measured: the moments of the swept layers' products, and of the outputs of other layers.
        biases: (c,), for layers whose bias is kept.
        scale_is_final: that of the segments before; their weights were measured as they are going
            to stay.
        products: the measured products of the segments before.
    """
    solver = _Solver(plan, biases, scale_is_final, products)
    for index, measurement in measured.layers.items():
        if plan.layers[index].swept:
            solver.add_layer(index, measurement)
        else:
            solver.outputs[index] = solver.scaled(measurement)
    return SegmentSolution(
        layers=solver.layers,
        scales={weight: _applied(solver.scales[weight]) for weight in sorted(solver.used)},
        scaled_at=solver.scaled_at,
        scale_is_final={
            weight: (scale > 0).astype(np.float64) for weight, scale in solver.scales.items()
        },
        norms={index: solver.scaled(one) for index, one in measured.norms.items()},
        products=solver.products,
        outputs={index: one for index, one in solver.outputs.items() if not one.is_empty},
    )


class _Solver:
    """Solves one layer after the other, in execution order.

    A layer was measured on unscaled values: their pending scale is the product of those of the
    layers in `Measurement.pending_layers`. Its own pending scale p brings the measured product to
    the target, so the scale of its weight is p over that product. A weight that is used several
    times is scaled at the first use whose output varies: that of a recurrent one on its initial
    state of zeros does not.
    """

    def __init__(
        self,
        plan: Plan,
        biases: Mapping[LayerIndex, Float64Array],
        scale_is_final: Mapping[WeightIndex, Float64Array],
        products: Mapping[LayerIndex, MeasuredProduct],
    ) -> None:
        self._plan = plan
        self._biases = biases
        self._pending = {index: product.pending_scale for index, product in products.items()}
        self.products = dict(products)
        self.layers: dict[LayerIndex, LayerSolution] = {}
        self.scales: dict[WeightIndex, Float64Array] = dict(scale_is_final)
        self.scaled_at: dict[WeightIndex, LayerIndex] = {}
        self.used: set[WeightIndex] = set()
        self.outputs: dict[LayerIndex, Moments] = {}

    def scaled(self, measurement: Measurement) -> Moments:
        """Return the moments of the scaled value."""
        return measurement.moments.scaled(self._pending_scale(measurement))

    def add_layer(self, index: LayerIndex, measurement: Measurement) -> None:
        """Solve a layer whose product was measured."""
        planned, bias = self._plan.layers[index], self._biases.get(index)
        moments = self.scaled(measurement)
        scale = self._scale(index, moments, bias)
        self._pending[index] = scale * self._pending_scale(measurement)
        self.products[index] = MeasuredProduct(self._pending[index], measurement.moments.mean)
        failure = failure_of(self._plan.rule, moments, bias, self._plan.target(index))
        self.layers[index] = LayerSolution(moments, failure)
        self.outputs[index] = _output(planned, moments.scaled(scale), bias)

    def _scale(
        self, index: LayerIndex, moments: Moments, bias: Float64Array | None
    ) -> Float64Array:
        """Return the scale of a layer's weight: that of an earlier use, or its own."""
        product = Product(moments.mean, moments.mean_square, bias)
        own = self._plan.rule.scale(product, self._plan.target(index), 0.0, NUMPY)
        if moments.is_empty:
            own = np.zeros_like(own)
        weight = self._plan.layers[index].first_use
        before = self.scales.get(weight, np.zeros_like(own))
        self.scales[weight] = np.where(before > 0, before, own)
        self.used.add(weight)
        if np.any(self.scales[weight] != before):
            self.scaled_at[weight] = index
        return _applied(self.scales[weight])

    def _pending_scale(self, measurement: Measurement) -> Float64Array:
        """Return the scale pending on a measured value."""
        scales = (self._pending[index] for index in measurement.pending_layers)
        return np.asarray(math.prod(scales), np.float64)


def _output(planned: PlannedLayer, product: Moments, bias: Float64Array | None) -> Moments:
    """Return the moments of a layer's scaled product with the bias added that it will have."""
    if bias is not None:
        return product.shifted(bias)
    if planned.bias is not Bias.CENTER or planned.layer.bias_value is None:
        return product
    return product.shifted(-product.mean if planned.centres else -product.mean.mean())


def _applied(scale: Float64Array) -> Float64Array:
    """Return a scale, or 1 where there is none: a dead channel keeps its weight."""
    return np.where(scale > 0, scale, 1.0)


def damp_overshoots(
    scales: Mapping[WeightIndex, Float64Array], previous: Mapping[WeightIndex, Float64Array]
) -> dict[WeightIndex, Float64Array]:
    """Halve steps that overshoot, in the logarithm.

    A weight that is read twice on the way to a layer's output has its scale squared there: full
    steps would oscillate forever, and half steps converge at once.

    Args:
        scales: those of this sweep.
        previous: those of the sweep before; empty for the first.
    """
    result = dict(scales)
    for weight, scale in scales.items():
        if weight in previous:
            step, before = np.log(scale), np.log(previous[weight])
            overshoots = (step * before < 0) & (np.abs(step) > np.abs(before) / 2)
            result[weight] = np.where(overshoots, np.sqrt(scale), scale)
    return result
