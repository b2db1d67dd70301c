"""The rule that scales a layer: unit variance, or another one in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol

from lsuv_cli.core.choices import Status
from lsuv_cli.core.mathematics import NUMPY, Mathematics, N
from lsuv_cli.core.moments import RELATIVE_VARIANCE_FLOOR, Float64Array, Moments

# Why a layer has no output where the samples decide which layers they pass.
NO_SAMPLE = "no sample reaches it"
UNREACHED = (Status.UNREACHABLE, NO_SAMPLE)


@dataclass(frozen=True, slots=True)
class Product(Generic[N]):
    """The product of a layer's weight and its input, as far as a scale depends on it.

    Attributes:
        mean: (c,) mean of each channel.
        mean_square: (c,) mean square of each channel.
        bias: (c,) bias that is added to the scaled product; None for zero.
    """

    mean: N
    mean_square: N
    bias: N | None


@dataclass(frozen=True, slots=True)
class ScaleTarget:
    """The output that a layer is to have.

    Attributes:
        std: its standard deviation.
        per_channel: whether each channel is scaled by itself.
        centred: whether the bias will make each channel's mean zero.
    """

    std: float
    per_channel: bool
    centred: bool = False


class ScaleRule(Protocol):
    """Turns the moments of a layer's product into the scale of its weight.

    Where all samples are one batch, the scale is computed within the graph, and numpy computes it
    again from the same moments; so a rule is written once, in the operations of `Number` and
    `Mathematics`. A rule can use what is measured, the mean and mean square of each channel, and
    nothing else. `SCALE_RULE` in `planning` is the rule that is used. Tables and charts show
    standard deviations whatever the rule; statuses and exit codes follow the rule.

    Example:
        A rule for the mean square instead of the variance, for biases that become zero:

        >>> import numpy as np
        >>> class UnitMeanSquare:
        ...     unsolvable = "is zero"
        ...
        ...     def scale(self, product, target, fallback, maths):
        ...         square = product.mean_square
        ...         if not target.per_channel:
        ...             square = maths.mean(square)
        ...         divisor = maths.where_greater(square, 0.0, square, 1.0)
        ...         scale = target.std / maths.sqrt(divisor)
        ...         return maths.where_greater(square, 0.0, scale, fallback)
        ...
        ...     def deviation(self, output, target):
        ...         square = output.mean_square
        ...         if not target.per_channel:
        ...             square = square.mean()
        ...         return float(np.abs(square / target.std**2 - 1).max())
        >>> product = Product(np.array([3.0, 0.0]), np.array([9.0, 1.0]), None)
        >>> target = ScaleTarget(2.0, per_channel=True)
        >>> scale = UnitMeanSquare().scale(product, target, 0.0, NUMPY)
        >>> print(np.round(scale, 3))
        [0.667 2.   ]
        >>> UnitMeanSquare().deviation(Moments(1, product.mean, product.mean_square), target)
        1.25

    Attributes:
        unsolvable: says of an output that no scale brings it to any target, after "the output".
    """

    unsolvable: ClassVar[str]

    def scale(
        self, product: Product[N], target: ScaleTarget, fallback: N | float, maths: Mathematics[N]
    ) -> N:
        """Return the p > 0 that brings p z + b to its target; z is the product, b the bias.

        Args:
            product: the moments of z, and b.
            target: the output to reach.
            fallback: returned where no p reaches it.
            maths: the functions to compute with.

        Returns:
            () or, per channel, (c,).
        """

    def deviation(self, output: Moments, target: ScaleTarget) -> float:
        """Return the distance of an output from its target, relative to it; 0 on the target.

        Args:
            output: the moments of the layer's output.
            target: the output to reach; per channel, the largest deviation counts.
        """


class UnitVariance:
    """The rule of LSUV: Var(p z + b) = std^2; see `ScaleRule`.

    p^2 Var(z) + 2 p Cov(z, b) + Var(b) = std^2 is solved for its larger root. b is constant within
    a channel, so Cov and Var(b) follow from the channels' means. Per channel b is a constant and
    does not count.
    """

    unsolvable: ClassVar[str] = "does not vary"

    def scale(
        self, product: Product[N], target: ScaleTarget, fallback: N | float, maths: Mathematics[N]
    ) -> N:
        """Return the p > 0 with Var(p z + b) = std^2; see `ScaleRule`.

        There is none where z does not vary, or where b alone varies more than the target. Where
        the bias will centre the channels, the variance is that within them.
        """
        mean, bias = product.mean, product.bias
        centre, square = mean, product.mean_square
        variance = square - centre * centre
        if not target.per_channel:
            centre, square = maths.mean(mean), maths.mean(product.mean_square)
            variance = maths.mean(variance) if target.centred else square - centre * centre
        noise = square * RELATIVE_VARIANCE_FLOOR
        divisor = maths.where_greater(variance, noise, variance, 1.0)
        if bias is None or target.per_channel:
            return maths.where_greater(variance, noise, target.std / maths.sqrt(divisor), fallback)
        bias_spread = bias - maths.mean(bias)
        covariance = maths.mean((mean - centre) * bias_spread)
        missing = target.std * target.std - maths.mean(bias_spread * bias_spread)
        discriminant = covariance * covariance + variance * missing
        safe = maths.where_greater(discriminant, 0.0, discriminant, 0.0)
        root = (maths.sqrt(safe) - covariance) / divisor
        root = maths.where_greater(root, 0.0, root, fallback)
        root = maths.where_greater(discriminant, 0.0, root, fallback)
        return maths.where_greater(variance, noise, root, fallback)

    def deviation(self, output: Moments, target: ScaleTarget) -> float:
        """Return |Var / std^2 - 1|; see `ScaleRule`."""
        return output.deviation(target.std, per_channel=target.per_channel)


def failure_of(
    rule: ScaleRule, moments: Moments, bias: Float64Array | None, target: ScaleTarget
) -> tuple[Status, str] | None:
    """Return why no scale gives a layer its target; None where one does.

    Args:
        rule: the rule that scales it.
        moments: of the layer's product, its weight not yet scaled.
        bias: (c,) bias that is added to it; None for zero.
        target: the output to reach.
    """
    if moments.is_empty:
        return UNREACHED
    if not moments.is_finite:
        return Status.NON_FINITE, "the output holds infinities or NaN"
    dead = _count_unsolved(rule, moments, None, target)
    if dead and target.per_channel:
        channels = moments.mean.size
        return (
            Status.ZERO_VARIANCE,
            f"the output {rule.unsolvable} in {dead} of {channels} channels",
        )
    if dead:
        return Status.ZERO_VARIANCE, f"the output {rule.unsolvable}: its input is constant or dead"
    if _count_unsolved(rule, moments, bias, target):
        return Status.UNREACHABLE, "the kept bias alone exceeds the target"
    return None


def is_unsolvable(rule: ScaleRule, output: Moments) -> bool:
    """Return whether no scale brings a layer's whole output to any target."""
    return _count_unsolved(rule, output, None, ScaleTarget(1.0, per_channel=False)) > 0


def _count_unsolved(
    rule: ScaleRule, moments: Moments, bias: Float64Array | None, target: ScaleTarget
) -> int:
    """Return the number of scales that the rule does not find."""
    product = Product(moments.mean, moments.mean_square, bias)
    return int((rule.scale(product, target, 0.0, NUMPY) == 0).sum())
