"""What enters the network, and how it should be normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.errors import DataError
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import InputStatistics

CHUNK_ELEMENTS = 1 << 20

# What enters the network counts as far from zero mean and unit variance outside these.
USUAL_MEAN = 0.5
USUAL_STD = (0.5, 2.0)


def measure_input(
    name: str, batch: NDArray[Any], channel_axis: int | None, sources: Sequence[str]
) -> InputStatistics:
    """Mean and standard deviation of a batch, in float64, without a copy of it.

    Raises:
        DataError: a value is not finite.
    """
    rows = max(1, CHUNK_ELEMENTS // max(1, batch[0].size))
    axes = tuple(axis for axis in range(batch.ndim) if axis != channel_axis)
    total = np.zeros(1 if channel_axis is None else batch.shape[channel_axis])
    squares = np.zeros_like(total)
    for start in range(0, len(batch), rows):
        chunk = np.asarray(batch[start : start + rows], np.float64)
        if not np.isfinite(chunk).all():
            bad = next(i for i, sample in enumerate(chunk) if not np.isfinite(sample).all())
            raise DataError(
                f"{sources[start + bad]} holds values that are not finite (NaN or infinity) for "
                f"the input {name}; remove or mend it"
            )
        total += chunk.sum(axis=axes)
        squares += np.square(chunk).sum(axis=axes)
    count = batch.size / total.size
    means = total / count
    variances = np.maximum(squares / count - means**2, 0)
    mean = means.mean()
    std = float(np.sqrt(max(0.0, variances.mean() + means.var())))
    by_channel = channel_axis is not None
    return InputStatistics(
        name=name,
        shape=batch.shape,
        dtype=str(batch.dtype),
        mean=float(mean),
        std=std,
        channel_mean=tuple(means.tolist()) if by_channel else (),
        channel_std=tuple(np.sqrt(variances).tolist()) if by_channel else (),
    )


def describe_input(statistics: InputStatistics) -> str:
    """Shape, type, mean and standard deviation in one line."""
    shape = "x".join(map(str, statistics.shape))
    return (
        f"input {statistics.name}: {shape} {statistics.dtype}, "
        f"mean {statistics.mean:.4g}, std {statistics.std:.4g}"
    )


def normalisation_advice(statistics: InputStatistics, options: SampleOptions) -> str:
    """A warning where the input is far from mean 0 and std 1, with the remedy; else ""."""
    low, high = USUAL_STD
    if abs(statistics.mean) <= USUAL_MEAN and low <= statistics.std <= high:
        return ""
    return (
        f"the input {statistics.name} is far from mean 0 and std 1, which LSUV assumes"
        + _remedy(statistics, options)
    )


def _remedy(statistics: InputStatistics, options: SampleOptions) -> str:
    """The options that would normalise these samples; "" where none would."""
    stds = statistics.channel_std or (statistics.std,)
    means = statistics.channel_mean or (statistics.mean,)
    if not statistics.dtype.startswith("float") or 0 in stds:
        return ""
    old_means = options.mean or (0.0,)
    old_stds = options.std or (1.0,)
    if len(old_means) == 1:
        old_means *= len(means)
    if len(old_stds) == 1:
        old_stds *= len(means)
    new_means = [
        old + std * mean for old, std, mean in zip(old_means, old_stds, means, strict=False)
    ]
    new_stds = [old * std for old, std in zip(old_stds, stds, strict=False)]
    return "; these samples ask for --mean {} --std {}".format(
        ",".join(f"{value:.4g}" for value in new_means),
        ",".join(f"{value:.4g}" for value in new_stds),
    )
