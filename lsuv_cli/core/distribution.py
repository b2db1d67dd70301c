"""How a layer's outputs are distributed, and how many of its activations are flat."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lsuv_cli.core.moments import Float64Array, Moments

BINS = 40

# The histogram reaches so many standard deviations to both sides of the mean.
REACH = 4.0


@dataclass(frozen=True, slots=True)
class Distribution:
    """What the values around a layer look like.

    Attributes:
        edges: (bins + 1,) float64, rising; the bins' bounds.
        shares: (bins,) float64: the share of the layer's outputs in each bin; the first and the
            last hold what lies beyond, too.
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
        """The share of channels whose activation is flat for every sample, so that none learns."""
        return None if self.active is None else float(np.mean(self.active == 0))

    @property
    def saturated(self) -> float | None:
        """The share of activations where the slope is flat: the ends of an S, or a ReLU's zeros."""
        return None if self.active is None else float(1 - np.mean(self.active))


def histogram_edges(moments: Moments) -> Float64Array:
    """(BINS + 1,) bounds of equal bins around the mean; the moments must be finite."""
    mean = moments.blob_mean
    # So that bins can be told apart in float32.
    std = max(math.sqrt(moments.blob_variance), abs(mean) * 1e-5, 1e-30)
    return np.linspace(mean - REACH * std, mean + REACH * std, BINS + 1)


def bin_shares(below: Float64Array) -> Float64Array:
    """(bins,) from the shares below each of the (bins + 1,) edges; the end bins take the rest."""
    bounds = below.copy()
    bounds[0], bounds[-1] = 0.0, 1.0
    return np.diff(bounds)
