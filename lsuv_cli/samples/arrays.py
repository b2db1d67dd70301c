"""The arrays of a file, checked against what the model is fed."""

from __future__ import annotations

import mmap
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.errors import DataError
from lsuv_cli.core.records import InputSpec
from lsuv_cli.samples import formats
from lsuv_cli.samples.formats import ArrayFormat, format_number

# Exceptions that numpy and zipfile raise for damaged files.
DAMAGED = (
    ValueError,
    EOFError,
    SyntaxError,
    RuntimeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """The samples in one file.

    Attributes:
        path: the file.
        arrays: for each of the model's inputs an array whose first axis is the sample.
    """

    path: Path
    arrays: dict[str, NDArray[Any]]

    @property
    def count(self) -> int:
        """The number of samples."""
        return int(next(iter(self.arrays.values())).shape[0])

    def release(self) -> None:
        """Release the pages read from mapped arrays, which count as this process's memory.

        They stay in the system's cache as long as it has space.
        """
        for array in self.arrays.values():
            mapping: object = array
            while isinstance(mapping, np.ndarray):
                mapping = mapping.base
            if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                mapping.madvise(mmap.MADV_DONTNEED)


def open_arrays(path: Path, specs: Sequence[InputSpec]) -> ArrayFile:
    """Open a file of arrays; a .npy is mapped, not read.

    An array with as many axes as the input holds samples along its first; one with one axis less
    is a single sample.

    Raises:
        DataError: the file can't be read, lacks an input, or an array does not fit its input.
    """
    number = format_number(path.name)
    assert number is not None
    array_format = formats.FORMATS[number]
    assert isinstance(array_format, ArrayFormat)
    try:
        named = array_format.open(path)
        sources = _sources([*named], path, specs)
        read = {name: named[source] for name, source in sources.items()}
    except OSError as error:
        raise DataError(f"can't read the arrays in {path}: {error.strerror or error}") from None
    except DAMAGED as error:
        reason = " ".join(str(error).split()).rstrip(".")
        remedy = f"; {array_format.remedy}" if array_format.remedy else ""
        raise DataError(f"can't read the arrays in {path}: {reason}{remedy}") from None
    arrays = {spec.name: _samples(read[spec.name], spec, path) for spec in specs}
    counts = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"the arrays in {path} hold different numbers of samples: {counts}")
    return ArrayFile(path, arrays)


def _sources(names: Sequence[str], path: Path, specs: Sequence[InputSpec]) -> dict[str, str]:
    """Return the name of the array that feeds each input; an array without a name is ""."""
    if len(specs) == 1 and len(names) == 1:
        return {specs[0].name: names[0]}
    if "" in names:
        inputs = ", ".join(spec.name for spec in specs)
        raise DataError(
            f"{path} holds one array, but the model has the inputs {inputs}; "
            "use .npz files keyed by their names"
        )
    missing = [spec.name for spec in specs if spec.name not in names]
    if missing:
        raise DataError(
            f"{path} has no array for the model's input {', '.join(missing)}; "
            f"it has {', '.join(names) or 'none'}"
        )
    return {spec.name: spec.name for spec in specs}


def _samples(array: NDArray[Any], spec: InputSpec, path: Path) -> NDArray[Any]:
    """Return the array with the sample axis in front, its shape and type checked."""
    if array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32):
        array = array.astype(np.float32)  # bfloat16, which numpy knows by ml_dtypes alone
    if spec.shape is None and array.ndim and array.dtype.kind in "biuf":
        return array
    shape = spec.shape or ()
    if not shape:
        raise DataError(
            f"the model's input {spec.name} is a single number, which samples can't be stacked in"
        )
    batched = array[None] if array.ndim == len(shape) - 1 else array
    fits = batched.ndim == len(shape) and all(
        size is None or size == actual
        for size, actual in zip(shape[1:], batched.shape[1:], strict=True)
    )
    if not fits:
        raise DataError(
            f"the array of shape {list(array.shape)} in {path} does not fit the model's input "
            f"{spec.describe()} (? is any size; the first axis is the sample)"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(f"the array in {path} holds {array.dtype}, not numbers")
    return batched
