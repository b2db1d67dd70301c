"""Gains of computed weights, set so that the weight is the matrix that was drawn.

Weight normalisation multiplies each row of a normalised matrix by a gain; weight standardisation
may do so, too. Such a parameter scales the weight, and holds no matrix.
"""

from __future__ import annotations

import numpy as np

from lsuv_cli.core.indices import LayerIndex
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.engine.evaluate import evaluate
from lsuv_cli.engine.setup import Setup
from lsuv_cli.graph.parameters import Parameters

# A computed weight is the drawn matrix, but for its gains, up to this share of its largest element.
TOLERANCE = 1e-3


def set_gains(setup: Setup, weights: Parameters, index: LayerIndex) -> None:
    """Set the gains of a layer's computed weight once its matrix has been drawn.

    Each becomes 1, or what makes the weight the drawn matrix itself where that is possible: the
    norms of its rows for weight normalisation.

    Args:
        setup: the model and its plan.
        weights: changed.
        index: of the layer.
    """
    layer, model = setup.plan.layers[index].layer, setup.model
    parts = [part.value for part in layer.scaled_parts]
    holder = model.view(layer.weight_value).parameter
    if not layer.is_drawn or holder in {model.view(part).parameter for part in parts}:
        return
    for part in parts:
        weights.set(part, np.ones_like(weights[part]))
    if len(parts) > 1:
        return
    computed = model.computed_weights[layer.computed_weight]
    values = {name: weights[name] for name in computed.parameters}
    normalised = evaluate(model, computed.value, values)
    gain = _gain(weights[layer.weight_value], normalised, weights[parts[0]].shape)
    if gain is not None:
        weights.set(parts[0], gain.astype(weights[parts[0]].dtype))


def _gain(matrix: FloatArray, normalised: FloatArray, shape: tuple[int, ...]) -> FloatArray | None:
    """Return the gain by which a normalised matrix is to be multiplied; None without one.

    Args:
        matrix: the drawn matrix.
        normalised: the weight with gains of 1, of the same shape.
        shape: the gain's shape: one number, or one for each index of one of the matrix's axes.
    """
    size = int(np.prod(shape))
    axes = [axis for axis, length in enumerate(matrix.shape) if length == size]
    for axis in [None] if size == 1 else axes:
        rest = tuple(other for other in range(matrix.ndim) if other != axis)
        square = np.sum(np.square(normalised, dtype=np.float64), axis=rest, keepdims=True)
        if not np.all(square > 0):
            return None
        ratio = np.sum(matrix * normalised.astype(np.float64), axis=rest, keepdims=True) / square
        error = np.abs(matrix - ratio * normalised).max()
        if np.all(ratio > 0) and error <= TOLERANCE * np.abs(matrix).max():
            gain: FloatArray = ratio.reshape(shape)
            return gain
    return None
