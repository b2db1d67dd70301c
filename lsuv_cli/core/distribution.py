"""Distribution of a layer's outputs, and the shares of its activations that are flat."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lsuv_cli.core.moments import Float64Array, Moments

BINS = 40

# Standard deviations that the histogram extends to both sides of the mean.
REACH = 4.0


@dataclass(frozen=True, slots=True)
class Distribution:
    """Distribution of the values around a layer.

    Attributes:
        edges: (bins + 1,) float64, ascending; the bins' edges.
        shares: (bins,) float64: the share of the layer's outputs in each bin; the first and the
            last bin also hold what lies beyond them.
        activation: the operator of the activation that follows; "" without one.
        active: (c,) float64: for each channel the share of activations where the operator's slope
            is not flat; None where it is nowhere, or there is none.
    """

    edges: Float64Array
    shares: Float64Array
    activation: str
    active: Float64Array | None

    @property
    def dead(self) -> float | None:
        """Return the share of channels that don't learn: flat for every sample; None if unknown."""
        return None if self.active is None else float(np.mean(self.active == 0))

    @property
    def saturated(self) -> float | None:
        """Return the share of flat activations: an S's ends, a ReLU's zeros; None if unknown."""
        return None if self.active is None else float(1 - np.mean(self.active))


def histogram_edges(moments: Moments) -> Float64Array:
    """Return (BINS + 1,) edges of equal bins around the mean; the moments must be finite."""
    mean = moments.blob_mean
    # The bins must be distinguishable in float32.
    std = max(math.sqrt(moments.blob_variance), abs(mean) * 1e-5, 1e-30)
    return np.linspace(mean - REACH * std, mean + REACH * std, BINS + 1)


def bin_shares(below: Float64Array) -> Float64Array:
    """Return (bins,) shares from those below each of the (bins + 1,) edges.

    The first and the last bin also take what lies beyond them.
    """
    bounds = below.copy()
    bounds[0], bounds[-1] = 0.0, 1.0
    return np.diff(bounds)
