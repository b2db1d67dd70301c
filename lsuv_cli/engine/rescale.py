"""Weights are scaled, and biases and running statistics set."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lsuv_cli.core.choices import Bias
from lsuv_cli.core.indices import LayerIndex, NormIndex, WeightIndex
from lsuv_cli.core.layout import rescaled
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import Layer
from lsuv_cli.core.solve import LayerSolution
from lsuv_cli.engine.channel_axes import along
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.layers.biases import stored_bias


def clear_biases(setup: Setup, weights: Parameters) -> None:
    """Set the biases to zero that a sweep does not set."""
    for planned in setup.plan.layers:
        layer = planned.layer
        if not planned.skipped and planned.bias is not Bias.KEEP:
            for name in layer.computed_bias:
                weights.set(name, np.zeros_like(weights[name]))
        if not (planned.skipped or planned.swept or planned.bias is Bias.KEEP) and layer.bias_value:
            weights.set(layer.bias_value, np.zeros(layer.bias_shape, np.float32))


def apply(
    setup: Setup,
    weights: Parameters,
    solutions: Mapping[LayerIndex, LayerSolution],
    scales: Mapping[WeightIndex, Float64Array],
) -> None:
    """Scale the weights and set the biases.

    Args:
        setup: the model, its plan and its samples.
        weights: modified.
        solutions: the solution of each swept layer; the bias of one that no sample reaches stays.
        scales: the scale of each weight.
    """
    for first, scale in scales.items():
        layer = setup.plan.layers[first].layer
        if np.any(scale != 1):
            _rescale(layer, weights, scale)
    for index, solution in solutions.items():
        if solution.moments.is_empty:
            continue
        planned, layer_node = setup.plan.layers[index], setup.layer_nodes[index]
        layer = planned.layer
        if layer.bias_value is None or planned.bias is Bias.KEEP:
            continue
        old = weights[layer.bias_value]
        new = np.zeros_like(old)
        mean = solution.moments.mean * scales[planned.first_use]
        if planned.bias is Bias.CENTER and np.isfinite(mean).all():
            new = stored_bias(layer_node, -mean).astype(old.dtype)
        weights.set(layer.bias_value, new)


def _rescale(layer: Layer, weights: Parameters, scale: Float64Array) -> None:
    """Multiply a layer's weight by its scale, or the parameters that scale a computed one."""
    if not layer.computed_weight:
        weights.set(layer.weight_value, layer.layout.rescale(weights[layer.weight_value], scale))
    for part in layer.scaled_parts:
        value = weights[part.value]
        weights.set(part.value, rescaled(value, along(scale, part.channel_axis, value.ndim)))


def set_running_statistics(
    setup: Setup, weights: Parameters, norms: Mapping[NormIndex, Moments]
) -> None:
    """Set BatchNormalization's running mean and population variance to those of the samples.

    One that no sample reaches keeps its own.
    """
    for index, moments in norms.items():
        if moments.is_empty:
            continue
        norm = setup.norms[index]
        # Values beyond the dtype become infinite, as where the samples' statistics are used.
        with np.errstate(over="ignore"):
            weights.set(norm.running_mean, moments.mean)
            weights.set(norm.running_variance, moments.variance)
