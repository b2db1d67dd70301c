"""Deviations from a target that the rounding of the network's own numbers explains.

One sweep brings a layer to its target exactly, but for rounding: in a network that amplifies small
differences, through normalisations of values that hardly vary say, rounding alone moves a layer's
variance by more than the tolerance, and no further sweep helps.
"""

from __future__ import annotations

import math

import numpy as np

from lsuv_cli.core.choices import Status
from lsuv_cli.core.layout import FloatArray

# Exact sweeps leave 1e-5 of the usual tolerance's 1e-3; where a share of it is left, rounding may
# be at work, and a layer that is within the tolerance may owe that to chance.
_SUSPICIOUS_SHARE = 0.1
# Few measurements of what rounding does may all come out small by chance.
_MARGIN = 4.0


def is_suspicious(deviation: float, tolerance: float) -> bool:
    """Return whether a deviation that should be zero is worth measuring what rounding does."""
    return deviation > _SUSPICIOUS_SHARE * tolerance


def explained(deviation: float, rounding: float, tolerance: float) -> tuple[Status, str] | None:
    """Return the status and reason of a layer that is at the mercy of rounding; None of another.

    Args:
        deviation: |Var / target_std^2 - 1|, as it was measured.
        rounding: by how much rounding alone moves the variance, relative to it.
        tolerance: the tolerated deviation.
    """
    if max(deviation, rounding) <= tolerance or not deviation <= _MARGIN * rounding < math.inf:
        return None
    accepted = _rounded_up(max(deviation, 2 * rounding))
    return Status.NOISY, (
        f"rounding alone moves its variance by {rounding:.2g}, more than the tolerance allows, so "
        f"that no scale holds it nearer; --tol {accepted:g} accepts it, and samples that differ "
        "more from one another may help"
    )


def moved(value: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Return an array with every number moved by its last digit, up or down at random.

    Args:
        value: the array.
        generator: decides which numbers go up.
    """
    signs = generator.integers(0, 2, value.shape, dtype=np.int8) * 2 - 1
    factors = 1 + np.finfo(value.dtype).eps * signs.astype(value.dtype)
    return (value * factors).astype(value.dtype)


def _rounded_up(value: float) -> float:
    """Return a positive value rounded up to one digit."""
    power = 10.0 ** math.floor(math.log10(value))
    return math.ceil(value / power) * power
