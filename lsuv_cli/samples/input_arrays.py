"""Arrays made ready to feed inputs: their samples along the first axis, or the same for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.errors import DataError
from lsuv_cli.core.records import InputSpec

Array = NDArray[Any]

ORDINALS = {0: "the first axis", 1: "the second axis", 2: "the third axis"}


def fits(shape: tuple[int, ...], wanted: tuple[int | None, ...] | None) -> bool:
    """Return whether an array has a shape of which some sizes, or all, are open."""
    return wanted is None or (
        len(shape) == len(wanted)
        and all(size in (None, actual) for size, actual in zip(wanted, shape, strict=True))
    )


def samples_first(array: Array, spec: InputSpec) -> Array | None:
    """Return a view of an array of samples with their axis in front; None where it does not fit.

    Args:
        array: as the model takes it, with any number of samples.
        spec: the input, which has a batch axis.
    """
    axis = spec.batch_axis or 0
    if array.ndim <= axis:
        return None
    rows = np.moveaxis(array, axis, 0)
    return rows if fits(rows.shape[1:], spec.sample_shape) else None


def misfit_remedy(shape: tuple[int, ...], spec: InputSpec, verb: str = "save") -> str:
    """Return the line that moves the channels to where the model has them; else a legend.

    Args:
        shape: of an array that does not fit, or of a single sample.
        spec: the input, which has a batch axis.
        verb: what is done with an array.
    """
    axis = spec.batch_axis or 0
    rank = len(spec.shape or shape)
    batched = shape if len(shape) == rank else (1, *shape)
    orders = {"last": (0, rank - 1, *range(1, rank - 1)), "first": (0, *range(2, rank), 1)}
    for place, order in orders.items():
        possible = axis == 0 and rank > 2 and len(batched) == rank
        if possible and fits(tuple(batched[one] for one in order[1:]), spec.sample_shape):
            own = order if batched is shape else tuple(one - 1 for one in order[1:])
            return f"because its channels are {place}; {verb} array.transpose{own} instead"
    return f"(? is any size; {ORDINALS.get(axis, f'axis {axis}')} is the sample)"


def same_for_all(array: Array, spec: InputSpec, place: str) -> Array:
    """Return an array that an input takes whatever the samples are, in the input's type.

    Args:
        array: one number fills an input of one element, whatever its shape.
        spec: the input, which has no batch axis.
        place: where the array comes from, for messages.

    Raises:
        DataError: it does not fit, in its shape or its values.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"{place} for the input {spec.name} holds {array.dtype}, not numbers")
    sizes = spec.shape
    if array.size == 1 and sizes is not None and all(size in (1, None) for size in sizes):
        array = array.reshape((1,) * len(sizes))
    if not fits(array.shape, sizes):
        advice = f"; where they lie along one of its axes, give it: --batch-axis {spec.name}=0"
        raise DataError(
            f"{place} has the shape {list(array.shape)}, and the input {spec.describe()} takes "
            f"{'one array' if sizes else 'one number'} for all samples{advice if sizes else ''}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        kept = array.astype(spec.dtype or array.dtype)
    if kept.dtype.kind in "biu" and not np.array_equal(kept, array):
        raise DataError(
            f"{place} for the input {spec.name} is no {spec.dtype}: {array.ravel()[:4].tolist()}"
        )
    if not np.isfinite(kept).all():
        raise DataError(f"{place} for the input {spec.name} is not finite in {kept.dtype}")
    return kept


def repeated(rows: Mapping[str, Array], specs: Mapping[str, InputSpec]) -> dict[str, Array]:
    """Return arrays with equally many samples, those of one declared batch repeated for the others.

    Args:
        rows: the samples of each input, along the first axis.
        specs: the inputs.
    """
    most = max(map(len, rows.values()), default=0)
    return {
        name: _repeated(array, most) if len(array) == specs[name].declared_batch else array
        for name, array in rows.items()
    }


def _repeated(array: Array, count: int) -> Array:
    if len(array) in (0, count):
        return array
    if len(array) == 1:
        return np.broadcast_to(array, (count, *array.shape[1:]))
    return array[np.arange(count) % len(array)]
