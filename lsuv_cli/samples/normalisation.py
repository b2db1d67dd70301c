"""Mean and standard deviation that samples are normalised with, and the dtype they are fed as."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.options import SampleOptions

Normalisation = tuple[NDArray[np.float32], NDArray[np.float32]]


def natural_dtype(dtype: np.dtype[Any]) -> str:
    """Return the dtype for an input that declares none: float32, bool, or int64 for indices."""
    return {"f": "float32", "b": "bool"}.get(dtype.kind, "int64")


def array_normalisation(
    options: SampleOptions, dtype: str, shape: tuple[int, ...]
) -> Normalisation | None:
    """Return the mean and std that normalise an array; None where none do.

    Args:
        options: what the user asked for.
        dtype: the array's.
        shape: of one sample.

    Raises:
        UsageError: mean or std do not fit.
    """
    if not dtype.startswith("float"):
        return None
    last_axis = len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] not in (1, 3, 4)
    axis = 2 if last_axis else 0
    return normalisation_of(options, shape[axis] if len(shape) > 1 else 1, axis, len(shape))


def normalisation_of(
    options: SampleOptions, channels: int, axis: int, rank: int
) -> Normalisation | None:
    """Return mean and std, shaped to broadcast against a sample; None if neither was given."""
    if not options.mean and not options.std:
        return None
    shaped = []
    for name, values, default in (("--mean", options.mean, 0.0), ("--std", options.std, 1.0)):
        if len(values) not in (0, 1, channels):
            raise UsageError(
                f"{name} has {len(values)} values, but the samples have {channels} "
                + ("channel; give 1" if channels == 1 else f"channels; give 1 or {channels}")
            )
        array = np.asarray(values or (default,), np.float32)
        shaped.append(array.reshape([-1 if i == axis else 1 for i in range(rank)]))
    return shaped[0], shaped[1]


def normalised(value: NDArray[Any], by: Normalisation | None) -> NDArray[Any]:
    """Return a value with mean and std applied, if there are any."""
    return value if by is None else (value - by[0]) / by[1]


@contextmanager
def refusing_overflow(sample: str, spec_name: str, dtype: np.dtype[Any]) -> Iterator[None]:
    """Turn numpy's overflow while samples are converted into a sentence.

    Args:
        sample: what to call the sample.
        spec_name: the input that it feeds.
        dtype: what it is converted to.

    Raises:
        DataError: a number is beyond the type's range.
    """
    try:
        with np.errstate(over="raise"):
            yield
    except FloatingPointError:
        raise DataError(
            f"{sample} holds numbers that are too large for {dtype}, which the input {spec_name} "
            "takes; scale or remove them"
        ) from None
