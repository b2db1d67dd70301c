"""Samples that are in memory already: arrays, or batches of a loader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.batches import SampleShapes
from lsuv_cli.core.errors import DataError
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import Feeds, InputSpec, Specs
from lsuv_cli.samples.file_table import FileTable
from lsuv_cli.samples.input_arrays import misfit_remedy, repeated, same_for_all, samples_first
from lsuv_cli.samples.input_shapes import with_shapes
from lsuv_cli.samples.normalisation import (
    array_normalisation,
    natural_dtype,
    normalised,
    refusing_overflow,
)
from lsuv_cli.samples.open_samples import FindSamples
from lsuv_cli.samples.source import Arrays, Source


class MemorySource:
    """Samples in arrays; see `Source`."""

    channel_axis: int | None = None

    def __init__(self, arrays: Arrays, specs: Sequence[InputSpec], options: SampleOptions) -> None:
        """Check that the arrays fit the inputs.

        Args:
            arrays: for each input an array, as the model takes it.
            specs: the inputs.
            options: how they are normalised.

        Raises:
            DataError: they do not fit the model, or there are none.
        """
        missing = [spec.name for spec in specs if spec.name not in arrays]
        if missing:
            raise DataError(
                f"the samples lack the model's input {missing[0]}; they have {', '.join(arrays)}"
            )
        self.specs: Specs = {spec.name: spec for spec in specs if spec.batch_axis is not None}
        self.constants: Feeds = {
            spec.name: same_for_all(arrays[spec.name], spec, "the array")
            for spec in specs
            if spec.batch_axis is None
        }
        self._arrays = repeated(
            {name: _rows(arrays[name], spec) for name, spec in self.specs.items()}, self.specs
        )
        counts = {len(array) for array in self._arrays.values()}
        if counts == {0} or len(counts) > 1:
            raise DataError(f"the inputs have {sorted(counts)} samples; give each as many")
        self.available = counts.pop()
        self.shapes: SampleShapes = {
            name: (
                self._arrays[name].shape[1:],
                np.dtype(spec.dtype or natural_dtype(self._arrays[name].dtype)),
            )
            for name, spec in self.specs.items()
        }
        self._normalise = {
            name: array_normalisation(options, dtype.name, shape)
            for name, (shape, dtype) in self.shapes.items()
        }

    def name(self, sample: int) -> str:
        """Return "sample" and its number."""
        return f"sample {sample}"

    def version(self, _sample: int) -> tuple[int, ...]:
        """Return a constant: arrays in memory are taken not to change."""
        return ()

    def fill(self, samples: Sequence[int], batch: Arrays) -> dict[int, str]:
        """Copy rows into the batch."""
        for name, rows in batch.items():
            values = self._arrays[name][np.asarray(samples, np.int64)]
            with refusing_overflow("a sample", name, rows.dtype):
                rows[...] = normalised(values, self._normalise[name])
        return {}

    def close(self) -> None:
        """Do nothing: no file is open."""


def find_in_memory(samples: Any) -> FindSamples:
    """Return a function that finds samples in memory, in place of `open_samples`.

    Args:
        samples: an array or tensor (n, ...) for a model with one input; a mapping of such by the
            inputs' names; or an iterable of batches, each of them either of these, or a sequence
            that begins with the inputs, as (pictures, labels).
    """

    def find(
        inputs: Sequence[InputSpec], options: SampleOptions, _threads: int
    ) -> tuple[Source, FileTable]:
        specs = with_shapes(inputs, options.input_shapes)
        if isinstance(samples, Mapping) or is_array(samples):
            arrays = _by_name(samples, specs)
        elif not isinstance(samples, Iterable):
            raise DataError(
                f"the samples are of the type {type(samples).__name__}; give a path, an "
                "array, a mapping of arrays by the inputs' names, or an iterable of batches"
            )
        else:
            arrays = _joined(samples, specs, options.count)
        return MemorySource(arrays, specs, options), FileTable.empty()

    return find


def _joined(
    batches: Iterable[Any], specs: Sequence[InputSpec], count: int | None
) -> dict[str, NDArray[Any]]:
    """Join the first batches that together have `count` samples."""
    axes = {spec.name: spec.batch_axis for spec in specs}
    parts: list[dict[str, NDArray[Any]]] = []
    taken = 0
    for batch in batches:
        parts.append(_by_name(batch, specs))
        sampled = {name: one for name, one in parts[-1].items() if axes.get(name, 0) is not None}
        sizes = [
            array.shape[axis]
            for name, array in sampled.items()
            if array.ndim > (axis := axes.get(name, 0) or 0)
        ]
        if not sizes or len(sizes) < len(sampled):
            raise DataError("a batch is no array with samples along its first axis")
        taken += sizes[0]
        if count is not None and taken >= count:
            break
    if not parts:
        raise DataError("there are no samples: the iterable gave no batch")
    try:
        return {name: _joined_input(name, parts, axes.get(name, 0), count) for name in parts[0]}
    except (KeyError, ValueError):
        raise DataError("the batches do not have the same inputs and shapes") from None


def _joined_input(
    name: str, parts: Sequence[Mapping[str, NDArray[Any]]], axis: int | None, count: int | None
) -> NDArray[Any]:
    """Return the first samples of one input; or what it takes, where that is the same for all."""
    arrays = [part[name] for part in parts]
    if axis is not None:
        return np.moveaxis(np.moveaxis(np.concatenate(arrays, axis), axis, 0)[:count], 0, axis)
    if any(not np.array_equal(one, arrays[0]) for one in arrays):
        raise DataError(
            f"the batches have different arrays for the input {name}, which takes one for all "
            "samples"
        )
    return arrays[0]


def _by_name(batch: Any, specs: Sequence[InputSpec]) -> dict[str, NDArray[Any]]:
    if isinstance(batch, Mapping):
        return {str(name): _as_array(value) for name, value in batch.items()}
    if not isinstance(batch, Iterable):
        raise DataError(f"a batch is of the type {type(batch).__name__}; give arrays")
    names = [spec.name for spec in specs]
    values = [batch] if is_array(batch) else list(batch)
    if len(values) < len(names):
        raise DataError(
            f"a batch has {len(values)} arrays, and the model the inputs {', '.join(names)}; give "
            "a mapping by their names"
        )
    return dict(zip(names, map(_as_array, values), strict=False))


def is_array(value: Any) -> bool:
    """Return whether a value is an array or a tensor."""
    return hasattr(value, "shape") and hasattr(value, "__array__")


def _as_array(value: Any) -> NDArray[Any]:
    # Only tensors have this method and need it: they may require gradients or be on a GPU.
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which numpy lacks
            value = value.float()
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        raise DataError(
            f"the samples hold a value of the type {type(value).__name__} that is no array"
        ) from None


def _rows(array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """Return an array with its samples along the first axis, its shape and type checked."""
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise DataError(f"the samples for the input {spec.name} are no array of numbers")
    rows = samples_first(array, spec)
    if rows is None:
        raise DataError(
            f"the array of shape {list(array.shape)} does not fit the model's input "
            f"{spec.describe()} {misfit_remedy(array.shape, spec, 'give')}"
        )
    return rows
