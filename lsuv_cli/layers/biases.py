"""Conversion between a stored bias and the values that are added to the channels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.layers.layer_node import LayerNode


def per_channel_bias(layer_node: LayerNode, bias: FloatArray) -> NDArray[np.float64]:
    """Return what a stored bias adds to each channel, Gemm's beta included.

    Args:
        layer_node: the layer.
        bias: the bias in the shape it is stored with: (c,) or one number, with axes of size 1.

    Returns:
        (c,) float64.
    """
    channels = layer_node.layer.layout.out_channels
    spread = np.broadcast_to(bias.reshape(-1), (channels,)).astype(np.float64)
    return spread * layer_node.addend_factor


def stored_bias(layer_node: LayerNode, bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the bias to be stored for what is added to each channel; see `per_channel_bias`.

    Args:
        layer_node: the layer.
        bias: (c,).

    Returns:
        The bias in the shape it is stored with, float64. One that is stored as a single number for
        all channels gets their mean.
    """
    shape = layer_node.layer.bias_shape
    values = bias if math.prod(shape) == bias.size else bias.mean()
    return np.reshape(values / layer_node.addend_factor, shape)
