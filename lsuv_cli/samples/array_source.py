"""Arrays in files as samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsuv_cli.core.batches import SampleShapes
from lsuv_cli.core.errors import DataError
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import Feeds, InputSpec, Specs
from lsuv_cli.samples.arrays import ArrayFile, open_arrays
from lsuv_cli.samples.file_version import FileVersion
from lsuv_cli.samples.normalisation import (
    array_normalisation,
    natural_dtype,
    normalised,
    refusing_overflow,
)
from lsuv_cli.samples.source import Arrays


class ArraySource:
    """Samples in files of arrays; see `Source`."""

    channel_axis: int | None = None

    def __init__(
        self, files: Sequence[Path], specs: Sequence[InputSpec], options: SampleOptions
    ) -> None:
        """Open every file, without reading what can be mapped.

        Raises:
            DataError: a file can't be read or does not fit the model, or they hold no samples.
        """
        self._files = [open_arrays(path, specs) for path in files]
        self._versions = [FileVersion.of(path) for path in files]
        self._starts = np.cumsum([0, *(file.count for file in self._files)])
        self.available = int(self._starts[-1])
        if self.available == 0:
            raise DataError(f"the arrays in {', '.join(options.data)} hold no samples")
        self.specs: Specs = {spec.name: spec for spec in specs if spec.batch_axis is not None}
        self.shapes: SampleShapes = {name: self._shape(spec) for name, spec in self.specs.items()}
        self.constants: Feeds = self._files[0].constants
        for file in self._files:
            _refuse_other_constants(file, self._files[0])
        self._normalise = {
            name: array_normalisation(options, dtype.name, shape)
            for name, (shape, dtype) in self.shapes.items()
        }

    def _shape(self, spec: InputSpec) -> tuple[tuple[int, ...], np.dtype[Any]]:
        shapes = {file.arrays[spec.name].shape[1:] for file in self._files}
        if len(shapes) > 1:
            raise DataError(
                f"the samples for the input {spec.name} have different shapes: "
                f"{', '.join(str(list(shape)) for shape in sorted(shapes))}"
            )
        natural = natural_dtype(self._files[0].arrays[spec.name].dtype)
        return shapes.pop(), np.dtype(spec.dtype or natural)

    def _place(self, sample: int) -> tuple[int, int]:
        file = int(np.searchsorted(self._starts, sample, "right")) - 1
        return file, sample - int(self._starts[file])

    def name(self, sample: int) -> str:
        """Return the file's path and the row in it."""
        file, row = self._place(sample)
        return f"{self._files[file].path}[{row}]"

    def version(self, sample: int) -> FileVersion:
        """Return the version of the sample's file."""
        return FileVersion.of(self._files[self._place(sample)[0]].path)

    def fill(self, samples: Sequence[int], batch: Arrays) -> dict[int, str]:
        """Copy rows into the batch.

        Raises:
            DataError: a file is not what it was when it was opened.
        """
        places = [self._place(sample) for sample in samples]
        for file in sorted({file for file, _ in places}):
            # Reading past the end of a mapped file that became shorter would kill the process.
            _refuse_changed(self._files[file], self._versions[file])
        for name, rows in batch.items():
            for position, (file, row) in enumerate(places):
                value = self._files[file].arrays[name][row]
                with refusing_overflow(f"{self._files[file].path}[{row}]", name, rows.dtype):
                    rows[position] = normalised(value, self._normalise[name])
        for file in {file for file, _ in places}:
            self._files[file].release()
        return {}

    def close(self) -> None:
        """Do nothing: mapped files close themselves."""


def _refuse_other_constants(file: ArrayFile, first: ArrayFile) -> None:
    for name, value in file.constants.items():
        if not np.array_equal(value, first.constants[name]):
            raise DataError(
                f"{file.path} and {first.path} have different arrays for the input {name}, which "
                "takes one for all samples"
            )


def _refuse_changed(file: ArrayFile, version: FileVersion) -> None:
    try:
        now = FileVersion.of(file.path)
    except OSError as error:
        raise DataError(f"{file.path} can't be read any more: {error.strerror}") from None
    if now != version:
        raise DataError(
            f"{file.path} has changed since it was opened; run again when it no longer does"
        )
