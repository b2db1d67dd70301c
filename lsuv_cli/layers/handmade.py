"""Weights that look made by hand: filters that a network computes with and does not learn.

Blurs, edge detectors, windows, spectra, averages, filter banks and interpolation give themselves
away by relations between their elements, which neither a draw nor training brings about. Each of
these relations would have to hold by chance, and is evidence of so many bits; a few elements are
none.
"""

from __future__ import annotations

import math

import numpy as np

from lsuv_cli.core.layout import FloatArray, Order, WeightLayout

# A weight may have been rounded to bfloat16, of which two agree by chance once in 2**8 times.
PRECISION_BITS = 8
EVIDENCE_BITS = 24
# Sines and means that are computed in float32 are off by less, relative to the largest element.
TOLERANCE = 1e-5
MEAN_TOLERANCE = 4e-3  # bfloat16's
SHORTEST_WINDOW = 16
LARGEST_GAP = 0.05  # of a window: sines cross zero
GLANCE = 4096  # elements that rule out most weights


def signs_of_hand(filters: FloatArray) -> str:
    """Return what shows that a weight was made by hand; "" for one that may be drawn or trained.

    Args:
        filters: (out, in, kernel), the filters of the output channels, some or all; the kernel's
            axes as one. See `filters_of`.
    """
    fan = math.prod(filters.shape[1:])
    flat = filters.reshape(-1)
    if not flat.size or fan < 2 or not np.isfinite(flat).all() or _is_factor(filters):
        return ""
    sign = ""
    if (flat == flat[0]).all():
        sign = "an average" if abs(float(flat[0]) * fan - 1) <= MEAN_TOLERANCE else ""
    elif (unit := _common_unit(flat)) is not None:
        sign = f"whole multiples of {unit:g}"
    elif _are_equal(filters):
        sign = "equal filters for all channels"
    elif _is_nowhere_negative(flat):
        sign = "nowhere negative"
    elif _are_mirrored(filters):
        sign = "mirror-symmetric filters"
    elif _are_windowed(filters):
        sign = "windows that are zero on both sides"
    return sign


def filters_of(weight: FloatArray, layout: WeightLayout) -> FloatArray:
    """Return a weight as the filters of its output channels, (out, in, kernel).

    Args:
        weight: array of the layout's shape.
        layout: the meaning of its axes.
    """
    kernel = math.prod(layout.kernel)
    if layout.order is Order.CONV_TRANSPOSE:
        by_group = weight.reshape(layout.groups, layout.in_channels, -1, kernel)
        return by_group.transpose(0, 2, 1, 3).reshape(-1, layout.in_channels, kernel)
    if layout.order is Order.IN_OUT:
        weight = np.swapaxes(weight, -1, -2)
    return weight.reshape(-1, layout.in_channels, kernel)


def _is_factor(filters: FloatArray) -> bool:
    """Say whether each filter takes one element of its one input channel, all the same one.

    With one channel in each group that may have been drawn: an orthonormal matrix of one element is
    1 or -1.
    """
    places = filters.reshape(len(filters), -1) != 0
    one_place = places.any(axis=0).sum() == 1
    return filters.shape[1] == 1 and bool(one_place)


def _common_unit(flat: FloatArray) -> float | None:
    """Return the power of two of which all elements are small whole multiples; None without one."""
    largest = float(np.abs(flat).max())
    unit = 2.0 ** (math.ceil(math.log2(largest)) - PRECISION_BITS + 1)
    for part in (flat[:GLANCE], flat):
        multiples = np.divide(part, unit, dtype=np.float64)
        if (multiples != np.rint(multiples)).any():
            return None
    whole = np.abs(multiples[multiples != 0]).astype(np.int64)
    together = int(np.bitwise_or.reduce(whole))
    lowest = together & -together
    bits = (int(whole.max()) // lowest).bit_length()
    return unit * lowest if whole.size * (PRECISION_BITS - bits) >= EVIDENCE_BITS else None


def _are_equal(filters: FloatArray) -> bool:
    """Say whether all output channels have one filter."""
    others = len(filters) - 1
    if others * math.prod(filters.shape[1:]) * PRECISION_BITS < EVIDENCE_BITS:
        return False
    return bool((filters[1] == filters[0]).all() and (filters[2:] == filters[0]).all())


def _is_nowhere_negative(flat: FloatArray) -> bool:
    """Say whether no element is negative, and enough are positive."""
    if flat[:GLANCE].min() < 0 or flat.min() < 0:
        return False
    return bool(np.count_nonzero(flat) >= EVIDENCE_BITS)


def _are_mirrored(filters: FloatArray) -> bool:
    """Say whether each kernel is its mirror image, or the negative of that.

    So are windows, and sines and cosines within them. Where they were sampled for a discrete
    Fourier transform, all but their first elements are.
    """
    length = max(filters.shape[1:]) if filters.shape[2] == 1 else filters.shape[2]
    kernels = filters.reshape(-1, length)
    limit = TOLERANCE * float(np.abs(kernels).max())
    glance = kernels[: max(1, GLANCE // length)]
    return any(
        _evidence_of_symmetry(glance[:, start:], limit) is not None
        and (_evidence_of_symmetry(kernels[:, start:], limit) or 0) >= EVIDENCE_BITS
        for start in (0, 1)
    )


def _are_windowed(filters: FloatArray) -> bool:
    """Say whether each kernel is zero on both sides and nowhere else, as those of wavelets are.

    A mask would have its zeros anywhere, and a matrix at the kernel's centre is one element wide.
    """
    kernels = filters.reshape(-1, filters.shape[2])
    length = kernels.shape[1]
    if length < SHORTEST_WINDOW or (kernels[:, [0, -1]] != 0).any():
        return False
    inside = kernels != 0
    inside = inside[inside.any(axis=1)]
    starts, ends = inside.argmax(axis=1), length - inside[:, ::-1].argmax(axis=1)
    widths = ends - starts
    gaps = widths.sum() - np.count_nonzero(inside)
    around = inside.size - widths.sum()
    return bool(
        widths.min() >= SHORTEST_WINDOW // 2
        and around >= EVIDENCE_BITS
        and gaps <= LARGEST_GAP * widths.sum()
    )


def _evidence_of_symmetry(kernels: FloatArray, limit: float) -> int | None:
    """Return the evidence that kernels, (n, length), are symmetric; None where they are not."""
    mirrored = kernels[:, ::-1]
    even = (np.abs(kernels - mirrored) <= limit).all(axis=1)
    odd = (np.abs(kernels + mirrored) <= limit).all(axis=1)
    if not (even | odd).all():
        return None
    # What is one number everywhere, or zero but for the centre, shows nothing.
    varied = kernels[np.ptp(kernels, axis=1) > limit]
    pairs = np.count_nonzero(np.abs(varied[:, : kernels.shape[1] // 2]) > limit)
    return int(pairs) * PRECISION_BITS - len(varied)
