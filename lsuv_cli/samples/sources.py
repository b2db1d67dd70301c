"""Where samples come from: any one of them can be read, as what the model is fed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lsuv_cli.core.batches import SampleShapes
from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import InputSpec
from lsuv_cli.samples.arrays import ArrayFile, open_arrays
from lsuv_cli.samples.images import picture_format, read_picture
from lsuv_cli.samples.pictures import Pictures

# What Pillow raises at damaged files depends on the decoder, libavif's RuntimeError included.
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    MemoryError,
    RuntimeError,
    Image.DecompressionBombError,
)

Arrays = Mapping[str, NDArray[Any]]
Normalisation = tuple[NDArray[np.float32], NDArray[np.float32]]


class Source(Protocol):
    """Samples that can be read in any order.

    Attributes:
        available: how many there are.
        shapes: for each input the shape and dtype of one sample.
        channel_axis: the channels' axis in a batch; None where there are none.
    """

    available: int
    shapes: SampleShapes
    channel_axis: int | None

    def name(self, sample: int) -> str:
        """What messages call a sample."""

    def version(self, sample: int) -> tuple[int, ...]:
        """What changes when the file that a sample is in does."""

    def fill(self, samples: Sequence[int], batch: Arrays) -> dict[int, str]:
        """Read some samples.

        Args:
            samples: their numbers.
            batch: for each input an array that has a row for each of them.

        Returns:
            For each row whose sample can't be read why; other rows are filled.
        """

    def close(self) -> None:
        """Let threads and files go."""


class PictureSource:
    """Pictures, decoded by several threads; see `Source`."""

    def __init__(
        self, pictures: Pictures, spec: InputSpec, options: SampleOptions, threads: int
    ) -> None:
        """Open without reading any.

        Raises:
            UsageError: an option contradicts the model's input.
            DataError: the input takes no pictures.
        """
        self.available = len(pictures)
        self._pictures = pictures
        self._wanted = picture_format(spec, options.resize, options.crop)
        axis = 0 if self._wanted.channels_first else 2
        self.channel_axis: int | None = axis + 1
        self._normalise = _normalisation(options, self._wanted.channels, axis, 3)
        if spec.dtype == "uint8" and self._normalise is not None:
            raise UsageError(
                f"the input {spec.name} takes bytes, which the model normalises itself; leave out "
                "--preset, --mean and --std"
            )
        if spec.dtype not in ("", "uint8") and not spec.dtype.startswith(("float", "bfloat")):
            raise DataError(
                f"the input {spec.name} takes {spec.dtype}, which pictures are not; give arrays"
            )
        self._dtype = np.dtype(spec.dtype or "float32")
        self.shapes: SampleShapes = {spec.name: (self._wanted.shape, self._dtype)}
        self._pool = ThreadPoolExecutor(threads or os.cpu_count())

    def name(self, sample: int) -> str:
        """The picture's file, and which one in it."""
        return self._pictures.name(sample)

    def version(self, sample: int) -> tuple[int, ...]:
        """Size and time of the last change of the picture's file."""
        return self._pictures.version(sample)

    def fill(self, samples: Sequence[int], batch: Arrays) -> dict[int, str]:
        """Decode, several pictures at a time."""
        (rows,) = batch.values()

        def decode(row: int) -> str:
            try:
                pixels = read_picture(self._pictures.open(samples[row]), self._wanted)
            except UNREADABLE as error:
                return " ".join(str(error).split()) or type(error).__name__
            if self._normalise is not None:
                pixels = (pixels - self._normalise[0]) / self._normalise[1]
            rows[row] = np.rint(pixels * 255) if self._dtype == np.uint8 else pixels
            return ""

        reasons = self._pool.map(decode, range(len(samples)))
        return {row: reason for row, reason in enumerate(reasons) if reason}

    def close(self) -> None:
        """After Ctrl-C, too: what has not begun need not be decoded any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class ArraySource:
    """Samples in files of arrays; see `Source`."""

    channel_axis: int | None = None

    def __init__(
        self, files: Sequence[Path], specs: Sequence[InputSpec], options: SampleOptions
    ) -> None:
        """Open every file.

        Raises:
            DataError: a file can't be read or does not fit the model, or they hold no samples.
        """
        self._files = [open_arrays(path, specs) for path in files]
        self._versions = [_version(path) for path in files]
        self._starts = np.cumsum([0, *(file.count for file in self._files)])
        self.available = int(self._starts[-1])
        if self.available == 0:
            raise DataError(f"the arrays in {', '.join(options.data)} hold no samples")
        self.shapes: SampleShapes = {spec.name: self._shape(spec) for spec in specs}
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
        """The file, and the row in it."""
        file, row = self._place(sample)
        return f"{self._files[file].path}[{row}]"

    def version(self, sample: int) -> tuple[int, ...]:
        """Size and time of the last change of the file."""
        return _version(self._files[self._place(sample)[0]].path)

    def fill(self, samples: Sequence[int], batch: Arrays) -> dict[int, str]:
        """Copy rows.

        Raises:
            DataError: a file is not what it was when it was opened.
        """
        places = [self._place(sample) for sample in samples]
        for file in sorted({file for file, _ in places}):
            # A mapped file that became shorter would end the process.
            _refuse_changed(self._files[file], self._versions[file])
        for name, rows in batch.items():
            normalise = self._normalise[name]
            for position, (file, row) in enumerate(places):
                value = self._files[file].arrays[name][row]
                rows[position] = (
                    value if normalise is None else (value - normalise[0]) / normalise[1]
                )
        for file in {file for file, _ in places}:
            self._files[file].release()
        return {}

    def close(self) -> None:
        """Nothing is open but mapped files, which go by themselves."""


def _refuse_changed(file: ArrayFile, version: tuple[int, ...]) -> None:
    try:
        now = _version(file.path)
    except OSError as error:
        raise DataError(f"{file.path} can't be read any more: {error.strerror}") from None
    if now != version:
        raise DataError(
            f"{file.path} has changed since it was opened; run again when it no longer does"
        )


def _version(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def natural_dtype(dtype: np.dtype[Any]) -> str:
    """What a network takes that does not say: float32 for numbers, int64 for indices."""
    return {"f": "float32", "b": "bool"}.get(dtype.kind, "int64")


def array_normalisation(
    options: SampleOptions, dtype: str, shape: tuple[int, ...]
) -> Normalisation | None:
    """What is subtracted from an array and divides it; None where nothing is.

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
    return _normalisation(options, shape[axis] if len(shape) > 1 else 1, axis, len(shape))


def _normalisation(
    options: SampleOptions, channels: int, axis: int, rank: int
) -> Normalisation | None:
    """Mean and std, shaped to broadcast against one sample; None where neither was given."""
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


def in_batches(samples: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Consecutive samples, `size` at a time; the last batch may have fewer."""
    for start in range(0, len(samples), size):
        yield samples[start : start + size]
