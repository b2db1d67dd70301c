"""Statistics of what enters the network, and advice on its normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.errors import DataError
from lsuv_cli.core.group import Group
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import InputStatistics

CHUNK_ELEMENTS = 1 << 20

# Outside these ranges an input counts as far from zero mean and unit variance.
USUAL_MEAN = 0.5
USUAL_STD = (0.5, 2.0)

MASK_TOLERANCE = 1e-9


class InputMeter:
    """Mean and standard deviation of what enters through one input, batch by batch, in float64."""

    def __init__(self, name: str, dtype: np.dtype[Any], channel_axis: int | None) -> None:
        self.name = name
        self.dtype = dtype
        self._channel_axis = channel_axis
        self._samples = 0
        self._elements = 0
        self._total = np.zeros(1)
        self._squares = np.zeros(1)

    def add(
        self, batch: NDArray[Any], samples: Sequence[int], name_of: Callable[[int], str]
    ) -> None:
        """Measure a batch without copying it.

        Args:
            batch: the samples, along the first axis.
            samples: their numbers.
            name_of: what messages call a sample.

        Raises:
            DataError: a value is not finite.
        """
        rows = max(1, CHUNK_ELEMENTS // max(1, math.prod(batch.shape[1:])))
        axes = tuple(axis for axis in range(batch.ndim) if axis != self._channel_axis)
        for start in range(0, len(batch), rows):
            chunk = np.asarray(batch[start : start + rows], np.float64)
            if not np.isfinite(chunk).all():
                bad = next(i for i, sample in enumerate(chunk) if not np.isfinite(sample).all())
                name = name_of(samples[start + bad])
                raise DataError(
                    f"{name} holds values that are not finite (NaN or infinity) for the input "
                    f"{self.name}; remove or fix it"
                )
            self._total = self._total + chunk.sum(axis=axes)
            self._squares = self._squares + np.square(chunk).sum(axis=axes)
        self._samples += len(batch)
        self._elements += batch.size

    def statistics(self, group: Group, shape: tuple[int, ...]) -> InputStatistics:
        """Return the statistics over the samples of all processes.

        Args:
            group: the processes.
            shape: of one sample.
        """
        channels = 1 if self._channel_axis is None else shape[self._channel_axis - 1]
        parts = group.gather(
            np.array(
                [
                    self._samples,
                    self._elements,
                    *np.broadcast_to(self._total, channels),
                    *np.broadcast_to(self._squares, channels),
                ]
            )
        )
        samples, elements, *sums = np.sum(parts, axis=0)
        count = elements / channels
        means = np.array(sums[:channels]) / count
        variances = np.maximum(np.array(sums[channels:]) / count - means**2, 0)
        by_channel = self._channel_axis is not None
        return InputStatistics(
            name=self.name,
            shape=(int(samples), *shape),
            dtype=str(self.dtype),
            mean=float(means.mean()),
            std=float(np.sqrt(max(0.0, variances.mean() + means.var()))),
            channel_mean=tuple(means.tolist()) if by_channel else (),
            channel_std=tuple(np.sqrt(variances).tolist()) if by_channel else (),
        )


def describe_input(statistics: InputStatistics) -> str:
    """Return shape, type, mean and standard deviation in one line."""
    shape = "x".join(map(str, statistics.shape))
    return (
        f"input {statistics.name}: {shape} {statistics.dtype}, "
        f"mean {statistics.mean:.4g}, std {statistics.std:.4g}"
    )


def normalisation_advice(
    statistics: InputStatistics, options: SampleOptions, *, alone: bool
) -> str:
    """Return a warning where the input is far from mean 0 and std 1, with a remedy; else "".

    Integers are never warned of: they are token ids, or the network itself normalises them. Nor are
    masks, which are zeros and ones.

    Args:
        statistics: of the input.
        options: how its samples were normalised.
        alone: whether it is the only input of real numbers; what would normalise one of several
            would change the others.
    """
    if "float" not in statistics.dtype or _is_mask(statistics):
        return ""
    low, high = USUAL_STD
    if abs(statistics.mean) <= USUAL_MEAN and low <= statistics.std <= high:
        return ""
    return f"the input {statistics.name} is far from mean 0 and std 1, which LSUV assumes" + (
        _remedy(statistics, options) if alone else ""
    )


def _is_mask(statistics: InputStatistics) -> bool:
    """Return whether an input that is no picture has zeros and ones only: x = x squared."""
    mean_square = statistics.std**2 + statistics.mean**2
    is_picture = bool(statistics.channel_mean)
    return not is_picture and math.isclose(mean_square, statistics.mean, rel_tol=MASK_TOLERANCE)


def _remedy(statistics: InputStatistics, options: SampleOptions) -> str:
    """Return the options that would normalise these samples; "" where none would."""
    stds = statistics.channel_std or (statistics.std,)
    means = statistics.channel_mean or (statistics.mean,)
    if 0 in stds:
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
    return "; for these samples, use --mean {} --std {}".format(
        ",".join(f"{value:.4g}" for value in new_means),
        ",".join(f"{value:.4g}" for value in new_stds),
    )
