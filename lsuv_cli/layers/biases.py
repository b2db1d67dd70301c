"""Biases as they are stored and as what they add to each channel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.layers.layer_node import LayerNode


def per_channel_bias(layer_node: LayerNode, bias: FloatArray) -> NDArray[np.float64]:
    """A bias as it is stored, as what it adds to each channel: (c,), Gemm's beta included."""
    channels = layer_node.layer.layout.out_channels
    spread = np.broadcast_to(bias.reshape(-1), (channels,)).astype(np.float64)
    return spread * layer_node.addend_factor


def stored_bias(layer_node: LayerNode, bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `per_channel_bias`: (c,) in the shape and scale it is stored with.

    A bias stored as one number for all channels gets the mean.
    """
    shape = layer_node.layer.bias_shape
    values = bias if math.prod(shape) == bias.size else bias.mean()
    return np.reshape(values / layer_node.addend_factor, shape)
