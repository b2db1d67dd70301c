"""Moments of a layer's output per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A variance below this share of the mean square is rounding, not signal: float32 values carry
# relative errors of 6e-8, so their variance around a constant comes out near 1e-14 of its square.
RELATIVE_VARIANCE_FLOOR = 1e-12

Float64Array = NDArray[np.float64]

# Outputs that hold infinities or NaN are reported, so that numpy need not warn of them.
_quiet = np.errstate(over="ignore", invalid="ignore")


@dataclass(frozen=True, slots=True)
class Moments:
    """First and second moments of an activation, for each of c channels.

    Attributes:
        count: the weight in a merge: the samples measured, where each has equally many elements in
            a channel; the elements of a channel, where that depends on what the samples hold.
            Without any, the moments mean nothing.
        mean: (c,) float64.
        mean_square: (c,) float64. float64 holds sixteen digits, so that the variance is exact
            enough even where the mean is a thousand times the standard deviation.
    """

    count: int
    mean: Float64Array
    mean_square: Float64Array

    @_quiet
    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets of samples together."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        count = self.count + other.count
        share, other_share = self.count / count, other.count / count
        return Moments(
            count,
            self.mean * share + other.mean * other_share,
            self.mean_square * share + other.mean_square * other_share,
        )

    @_quiet
    def scaled(self, scale: Float64Array) -> Moments:
        """Return the moments of scale times the activation; scale is () or (c,)."""
        return Moments(self.count, self.mean * scale, self.mean_square * scale**2)

    @_quiet
    def shifted(self, shift: Float64Array) -> Moments:
        """Return the moments of the activation plus a shift, () or (c,)."""
        square = self.mean_square + 2 * shift * self.mean + shift**2
        return Moments(self.count, self.mean + shift, square)

    @property
    def is_empty(self) -> bool:
        """Return whether nothing was measured."""
        return self.count == 0

    @property
    def is_finite(self) -> bool:
        """Return whether no element was infinite or not a number."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.mean_square).all())

    @property
    @_quiet
    def variance(self) -> Float64Array:
        """The population variance within each channel, (c,)."""
        # A one-pass mean square may come out a rounding error below the squared mean.
        return np.maximum(self.mean_square - self.mean**2, 0.0)

    @property
    @_quiet
    def blob_mean(self) -> float:
        """The mean over all channels."""
        return float(self.mean.mean())

    @property
    @_quiet
    def blob_variance(self) -> float:
        """The population variance over all channels and elements together."""
        return float(np.maximum(self.mean_square.mean() - self.blob_mean**2, 0.0))

    def condition(self, *, per_channel: bool, centred: bool = False) -> float:
        """Return mean square over variance, by which E[x^2] - E[x]^2 loses digits to cancellation.

        Of the blob, or the largest of a channel; infinite without variance, NaN for values that
        are not finite.

        Args:
            per_channel: whether each channel is looked at by itself.
            centred: whether the blob's variance is that within the channels.
        """
        variance = self.variance
        if not per_channel:
            variance = np.asarray(variance.mean() if centred else self.blob_variance)
        square = self.mean_square if per_channel else self.mean_square.mean()
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(variance == 0, np.inf, square / variance).max())

    @_quiet
    def change_from(self, other: Moments, *, per_channel: bool) -> float:
        """Return |Var / other's Var - 1|, of the blob or the largest over the channels.

        A channel that varies in neither has not changed.
        """
        variance, before = (
            one.variance if per_channel else np.asarray(one.blob_variance) for one in (self, other)
        )
        with np.errstate(divide="ignore"):
            change = np.abs(variance - before) / before
        return float(np.where(variance == before, 0.0, change).max())

    @_quiet
    def deviation(self, target_std: float, *, per_channel: bool) -> float:
        """Return |Var / target_std^2 - 1|, of the blob or the largest over the channels."""
        variance = self.variance if per_channel else np.asarray(self.blob_variance)
        return float(np.abs(variance / target_std**2 - 1).max())
