"""The arrays of a file, checked against what the model is fed."""

from __future__ import annotations

import mmap
import re
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
from lsuv_cli.samples.input_arrays import misfit_remedy, repeated, same_for_all, samples_first

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

# As numpy refuses an array whose elements are pickled.
OBJECTS = re.compile(r"\bobject(s| arrays)\b", re.IGNORECASE)
NO_OBJECTS = (
    "an array of Python objects, as numpy makes of samples of different shapes; save them in one "
    "shape, numbers only, as np.stack(samples)"
)


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """The samples in one file.

    Attributes:
        path: the file.
        arrays: for each input that takes samples an array whose first axis is the sample.
        constants: an array for each of the others.
    """

    path: Path
    arrays: dict[str, NDArray[Any]]
    constants: dict[str, NDArray[Any]]

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

    An array with as many axes as the input holds samples along its batch axis; one with one axis
    less is a single sample. Of an input that declares a number of samples, an array of so many is
    fed with every batch.

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
        if OBJECTS.search(reason):
            raise DataError(f"can't read the arrays in {path}: {NO_OBJECTS}") from None
        remedy = f"; {array_format.remedy}" if array_format.remedy else ""
        raise DataError(f"can't read the arrays in {path}: {reason}{remedy}") from None
    sampled = {spec.name: spec for spec in specs if spec.batch_axis is not None}
    arrays = repeated(
        {name: _samples(read[name], spec, path) for name, spec in sampled.items()}, sampled
    )
    counts = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"the arrays in {path} hold different numbers of samples: {counts}")
    place = f"the array in {path}"
    constants = {
        spec.name: same_for_all(_numbers(read[spec.name]), spec, place)
        for spec in specs
        if spec.batch_axis is None
    }
    return ArrayFile(path, arrays, constants)


def _sources(names: Sequence[str], path: Path, specs: Sequence[InputSpec]) -> dict[str, str]:
    """Return the name of the array that feeds each input; an array without a name is ""."""
    if len(specs) == 1 and len(names) == 1:
        return {specs[0].name: names[0]}
    if "" in names:
        inputs = ", ".join(spec.name for spec in specs)
        raise DataError(
            f"{path} holds one array, but the model has the inputs {inputs}; "
            "use .npz files keyed by their names, or give --feed NAME=VALUE for one that is the "
            "same for all samples"
        )
    missing = [spec.name for spec in specs if spec.name not in names]
    if missing:
        raise DataError(
            f"{path} has no array for the model's input {', '.join(missing)}; "
            f"it has {', '.join(names) or 'none'}{_advice(missing, specs)}"
        )
    return {spec.name: spec.name for spec in specs}


def _advice(missing: Sequence[str], specs: Sequence[InputSpec]) -> str:
    """Return how inputs that are the same for all samples are given; "" where none is missing."""
    constant = [s.name for s in specs if s.name in missing and s.batch_axis is None]
    return f"; give it there, or as --feed {constant[0]}=VALUE" if constant else ""


def _samples(array: NDArray[Any], spec: InputSpec, path: Path) -> NDArray[Any]:
    """Return the array with the sample axis in front, its shape and type checked."""
    array = _numbers(array)
    given = array.shape
    if array.ndim == len(spec.shape or (None,)) - 1:
        array = np.expand_dims(array, spec.batch_axis or 0)
    rows = samples_first(array, spec)
    if rows is None:
        raise DataError(
            f"the array of shape {list(given)} in {path} does not fit the model's input "
            f"{spec.describe()} {misfit_remedy(given, spec)}"
        )
    if array.dtype.kind not in "biuf":
        raise DataError(f"the array in {path} holds {array.dtype}, not numbers")
    return rows


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32):
        return array.astype(np.float32)  # bfloat16, which numpy knows by ml_dtypes alone
    return array
