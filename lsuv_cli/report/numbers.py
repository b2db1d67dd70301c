"""Numbers as people read them: in the terminal's tables, on the page and in charts."""

from __future__ import annotations

import math

from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Layer, LayerResult

MISSING = "-"


def number(value: float | None, decimals: int = 0) -> str:
    """Return a number with three significant digits, or a dash for None.

    Args:
        value: the number; NaN and infinity are written as words.
        decimals: digits after the point for absolute values from 0.1 to below 10, which are those
            that readers compare; 0 for three significant digits there, too.
    """
    if value is None:
        return MISSING
    return f"{value:.{decimals}f}" if decimals and 0.1 <= abs(value) < 10 else f"{value:.3g}"


def percentage(share: float | None) -> str:
    """Return a share as a percentage, or a dash for None."""
    return MISSING if share is None else f"{100 * share:.3g}%"


def scale_range(result: LayerResult, per: Per) -> str:
    """Return the scale, the range of its channels, or a dash where nothing was scaled."""
    if result.planned.skipped is not None or result.status is Status.UNSCALED:
        return MISSING
    if per is Per.CHANNEL and result.scale.ndim:
        return f"{result.scale.min():.4g}..{result.scale.max():.4g}"
    return f"{float(result.scale):.4g}"


def weight_shape(layer: Layer) -> str:
    """Return the weight's shape and, where there are several, its groups: `64x1x3x3 g64`."""
    shape = "x".join(map(str, layer.layout.shape))
    return f"{shape} g{layer.layout.groups}" if layer.layout.groups > 1 else shape


def parameter_names(layer: Layer) -> str:
    """Return the name of the weight's parameter, or those that a computed weight is made of."""
    if not layer.computed_weight:
        return layer.weight_name
    parts = [f"drawn: {layer.weight_name}"] if layer.is_drawn else []
    if layer.scaled_parts:
        parts.append(f"scaled: {', '.join(part.name for part in layer.scaled_parts)}")
    return "; ".join(parts) or layer.weight_name


def mean_of(moments: Moments | None) -> float | None:
    """Return the mean over all channels; None where nothing was measured."""
    return None if moments is None else moments.blob_mean


def variance_of(moments: Moments | None) -> float | None:
    """Return the variance over all channels; None where nothing was measured."""
    return None if moments is None else moments.blob_variance


def std_of(moments: Moments | None) -> float | None:
    """Return the standard deviation over all channels; None where nothing was measured."""
    return None if moments is None else math.sqrt(moments.blob_variance)
