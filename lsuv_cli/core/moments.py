"""Moments of a layer's output per channel, and the scale that follows from them in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.choices import Status

# A variance below this share of the mean square is rounding, not signal: float32 values carry
# relative errors of 6e-8, so their variance around a constant comes out near 1e-14 of its square.
RELATIVE_VARIANCE_FLOOR = 1e-12

Float64Array = NDArray[np.float64]

# Outputs that hold infinities or NaN are found and told, so numpy need not warn of what they give.
_quiet = np.errstate(over="ignore", invalid="ignore")


@dataclass(frozen=True, slots=True)
class Moments:
    """First and second moments of an activation, for each of c channels.

    Attributes:
        count: the samples measured. Each of them has equally many elements in a channel, so this
            serves as the weight in a merge.
        mean: (c,) float64.
        mean_square: (c,) float64. float64 holds sixteen digits, so that the variance is exact
            enough even where the mean is a thousand times the deviation.
    """

    count: int
    mean: Float64Array
    mean_square: Float64Array

    @_quiet
    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of samples together."""
        count = self.count + other.count
        share, other_share = self.count / count, other.count / count
        return Moments(
            count,
            self.mean * share + other.mean * other_share,
            self.mean_square * share + other.mean_square * other_share,
        )

    @_quiet
    def scaled(self, factor: Float64Array) -> Moments:
        """The moments of factor times the activation; factor is () or (c,)."""
        return Moments(self.count, self.mean * factor, self.mean_square * factor**2)

    @_quiet
    def shifted(self, shift: Float64Array) -> Moments:
        """The moments of the activation plus a shift, () or (c,)."""
        square = self.mean_square + 2 * shift * self.mean + shift**2
        return Moments(self.count, self.mean + shift, square)

    @property
    def is_finite(self) -> bool:
        """Whether no element was infinite or not a number."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.mean_square).all())

    @property
    @_quiet
    def variance(self) -> Float64Array:
        """(c,) the population variance within each channel."""
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
        """Mean square over variance: how much E[x^2] - E[x]^2 loses to cancellation.

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
    def deviation(self, target_std: float, *, per_channel: bool) -> float:
        """|Var / target_std^2 - 1|, of the blob or the largest over the channels."""
        variance = self.variance if per_channel else np.asarray(self.blob_variance)
        return float(np.abs(variance / target_std**2 - 1).max())


class Number(Protocol):
    """What the closed forms need of a value: a numpy array has it, and so has a graph value."""

    def __add__(self, other: Any, /) -> Self: ...
    def __sub__(self, other: Any, /) -> Self: ...
    def __mul__(self, other: Any, /) -> Self: ...
    def __truediv__(self, other: Any, /) -> Self: ...
    def __rsub__(self, other: Any, /) -> Self: ...
    def __rtruediv__(self, other: Any, /) -> Self: ...


N = TypeVar("N", bound=Number)


class Mathematics(Protocol[N]):
    """The functions the closed forms need.

    The same formulas are evaluated by numpy and written as nodes into the swept graph; a protocol
    lets one text serve both, so that the two can't drift apart.
    """

    def sqrt(self, x: N) -> N:
        """The square root, element by element."""

    def mean(self, x: N) -> N:
        """The mean over all elements, a scalar."""

    def where_greater(self, x: N, bound: Any, chosen: N, otherwise: Any) -> N:
        """`chosen` where x > bound, else `otherwise` (also where x is not a number).

        `chosen` must be finite everywhere, also where it is not chosen.
        """


class NumpyMathematics:
    """The closed forms' functions on float64 arrays."""

    def sqrt(self, x: Float64Array) -> Float64Array:
        """The square root, element by element."""
        return np.sqrt(x)

    def mean(self, x: Float64Array) -> Float64Array:
        """The mean over all elements, a scalar."""
        return np.asarray(np.mean(x), dtype=np.float64)

    def where_greater(
        self, x: Float64Array, bound: Any, chosen: Float64Array, otherwise: Any
    ) -> Float64Array:
        """`chosen` where x > bound, else `otherwise`."""
        return np.where(x > bound, chosen, otherwise)


NUMPY = NumpyMathematics()


def closed_form_factor(
    mean: N,
    mean_square: N,
    bias: N | None,
    target_std: float,
    fallback: N | float,
    maths: Mathematics[N],
    *,
    per_channel: bool,
    centred: bool = False,
) -> N:
    """The p > 0 with Var(p z + b) = target_std^2.

    p^2 Var(z) + 2 p Cov(z, b) + Var(b) = target_std^2 is solved for its larger root. b is constant
    within a channel, so Cov and Var(b) follow from the channels' means.

    Args:
        mean: (c,) mean of z in each channel.
        mean_square: (c,) mean of z^2 in each channel.
        bias: (c,) bias that is added to p z; None for zero.
        target_std: the standard deviation to reach.
        fallback: what to return where no p solves the equation: z has no variance, or that of b
            alone exceeds the target's square.
        maths: the functions to compute with.
        per_channel: whether each channel is scaled by itself.
        centred: whether b will be the one that makes each channel's mean zero; the variance of
            p z + b is then that within the channels.

    Returns:
        () or, per channel, (c,).
    """
    centre, square = mean, mean_square
    variance = square - centre * centre
    if not per_channel:
        centre, square = maths.mean(mean), maths.mean(mean_square)
        variance = maths.mean(variance) if centred else square - centre * centre
    noise = square * RELATIVE_VARIANCE_FLOOR
    divisor = maths.where_greater(variance, noise, variance, 1.0)
    if bias is None or per_channel:
        return maths.where_greater(variance, noise, target_std / maths.sqrt(divisor), fallback)
    bias_spread = bias - maths.mean(bias)
    covariance = maths.mean((mean - centre) * bias_spread)
    missing = target_std * target_std - maths.mean(bias_spread * bias_spread)
    discriminant = covariance * covariance + variance * missing
    safe = maths.where_greater(discriminant, 0.0, discriminant, 0.0)
    root = (maths.sqrt(safe) - covariance) / divisor
    root = maths.where_greater(root, 0.0, root, fallback)
    root = maths.where_greater(discriminant, 0.0, root, fallback)
    return maths.where_greater(variance, noise, root, fallback)


def failure_of(
    moments: Moments,
    bias: Float64Array | None,
    target_std: float,
    *,
    per_channel: bool,
    centred: bool = False,
) -> tuple[Status, str] | None:
    """Why no scale gives a layer its target; None where one does.

    Args:
        moments: of the layer's product, its weight not yet scaled.
        bias: (c,) bias that is added to it; None for zero.
        target_std: the standard deviation to reach.
        per_channel: whether each channel is scaled by itself.
        centred: whether the bias will make each channel's mean zero.
    """
    if not moments.is_finite:
        return Status.NON_FINITE, "the output holds infinities or NaN"

    def unsolved(with_bias: Float64Array | None) -> int:
        factor = closed_form_factor(
            moments.mean,
            moments.mean_square,
            with_bias,
            target_std,
            0.0,
            NUMPY,
            per_channel=per_channel,
            centred=centred,
        )
        return int((factor == 0).sum())

    dead = unsolved(None)
    if dead and per_channel:
        channels = moments.mean.size
        return Status.ZERO_VARIANCE, f"the output does not vary in {dead} of {channels} channels"
    if dead:
        return Status.ZERO_VARIANCE, "the output does not vary: its input is constant or dead"
    if unsolved(bias):
        return Status.UNREACHABLE, "the kept bias alone varies more than the target"
    return None
