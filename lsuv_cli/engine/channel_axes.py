"""The axes of a computed weight's parameters along which each output channel has its own scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from lsuv_cli.core.choices import Status
from lsuv_cli.core.layout import FloatArray, rescaled
from lsuv_cli.core.preinit import generator
from lsuv_cli.engine.evaluate import evaluate
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.reading.model import OnnxModel

TOLERANCE = 1e-3


def with_channel_axes(model: OnnxModel, layer_nodes: Sequence[LayerNode]) -> list[LayerNode]:
    """Return layers with the channel axes of the parameters that scale their computed weights.

    A layer whose weight has no such parameters can't have one scale for each channel.

    Args:
        model: the model.
        layer_nodes: its layers.
    """
    return [
        _with_axes(model, one) if one.layer.scaled_parts and one.unusable is None else one
        for one in layer_nodes
    ]


def _with_axes(model: OnnxModel, layer_node: LayerNode) -> LayerNode:
    layer = layer_node.layer
    rng = generator(0, layer.weight_name)
    computed = model.computed_weights[layer.computed_weight]
    values: dict[str, FloatArray] = {
        name: rng.uniform(0.5, 1.5, model.weight_values[name].shape).astype(
            model.weight_values[name].dtype
        )
        for name in computed.parameters
    }

    def weight(changed: dict[str, FloatArray]) -> FloatArray:
        return evaluate(model, computed.value, {**values, **changed})

    channels = layer.layout.out_channels
    scale = rng.uniform(1.0, 2.0, channels)
    wanted = layer.layout.rescale(weight({}), scale)
    choices = [
        [axis for axis, size in enumerate(values[part.value].shape) if size == channels]
        for part in layer.scaled_parts
    ]
    for axes in product(*choices):
        parts = [
            replace(part, channel_axis=axis)
            for part, axis in zip(layer.scaled_parts, axes, strict=True)
        ]
        changed = {
            part.value: rescaled(
                values[part.value], along(scale, part.channel_axis, values[part.value].ndim)
            )
            for part in parts
        }
        if np.allclose(weight(changed), wanted, rtol=TOLERANCE, atol=TOLERANCE * 1e-3):
            return replace(layer_node, layer=replace(layer, scaled_parts=tuple(parts)))
    reason = "no parameter of its weight has one number for each output channel"
    return replace(layer_node, unusable=(reason, Status.UNSCALABLE))


def along(scale: FloatArray, axis: int | None, rank: int) -> FloatArray:
    """Return one scale, or one for each channel in the shape that broadcasts along an axis."""
    if not scale.ndim or axis is None:
        return scale
    return scale.reshape(-1, *(1,) * (rank - axis - 1))
