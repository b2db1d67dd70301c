"""Sample files to one batch of feeds."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.preinit import generator
from lsuv_cli.core.records import InputSpec, Samples
from lsuv_cli.samples.arrays import ArrayFile, open_arrays
from lsuv_cli.samples.file_table import FileTable
from lsuv_cli.samples.files import find_files
from lsuv_cli.samples.images import PictureFormat, picture_format, read_picture
from lsuv_cli.samples.kinds import NUMBERS, PICTURES
from lsuv_cli.samples.pictures import Pictures, open_pictures
from lsuv_cli.samples.statistics import measure_input

UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    MemoryError,
    Image.DecompressionBombError,
)

Progress = Callable[[int, int], None]
Normalisation = tuple[NDArray[np.float32], NDArray[np.float32]]


def load_samples(
    inputs: Sequence[InputSpec], options: SampleOptions, threads: int, progress: Progress
) -> Samples:
    """Find, choose and read samples.

    Args:
        inputs: what the model must be fed.
        options: which samples, and how pictures become arrays.
        threads: decoding threads; 0 for one a core.
        progress: told (samples read, samples wanted).

    Raises:
        UsageError: an option contradicts the model's inputs.
        DataError: there are no samples, or they can't be used.
    """
    specs = _with_shapes(inputs, options.input_shapes)
    files = find_files(options.data, options.leave_out)
    picture, array = files.first(PICTURES), files.first(NUMBERS)
    if picture is None:
        samples = _load_arrays(files, specs, options, progress)
    elif array is not None:
        raise DataError(f"--data holds pictures ({picture}) and arrays ({array}); give one kind")
    else:
        samples = _load_pictures(files, specs, options, threads, progress)
    return samples


def _with_shapes(
    inputs: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]]
) -> list[InputSpec]:
    """The inputs, with the sizes they leave open filled in from `--input-shape`."""
    names = [spec.name for spec in inputs]
    named = {name or names[0]: sizes for name, sizes in shapes.items()}
    if ("" in shapes and len(inputs) + len(shapes) > 2) or not set(named) <= set(names):
        raise UsageError(f"--input-shape must name one of the model's inputs: {', '.join(names)}")
    specs = []
    for spec in inputs:
        sizes = named.get(spec.name)
        if sizes is None:
            specs.append(spec)
            continue
        if spec.shape is None:
            specs.append(replace(spec, shape=(None, *sizes)))
            continue
        # Other tools write the batch axis too; a leading 1 can only be that.
        sizes = sizes[1:] if len(sizes) == len(spec.shape) and sizes[0] == 1 else sizes
        if len(sizes) != len(spec.shape) - 1 or any(
            known not in (None, size) for known, size in zip(spec.shape[1:], sizes, strict=True)
        ):
            raise UsageError(
                f"--input-shape {spec.name}:{','.join(map(str, sizes))} contradicts the model's "
                f"input {spec.describe()}"
            )
        specs.append(replace(spec, shape=(spec.shape[0], *sizes)))
    return specs


def _load_pictures(
    files: FileTable,
    specs: Sequence[InputSpec],
    options: SampleOptions,
    threads: int,
    progress: Progress,
) -> Samples:
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise DataError(
            f"the model has the inputs {names}, and pictures can feed only one; "
            "give .npz files keyed by their names"
        )
    spec = specs[0]
    wanted = picture_format(spec, options.resize, options.crop)
    axis = 0 if wanted.channels_first else 2
    normalise = _normalisation(options, wanted.channels, axis, 3)
    pictures = open_pictures(files)
    order = generator(options.seed, "samples").permutation(len(pictures))
    count = min(options.count, len(pictures))
    batch = np.empty((count, *wanted.shape), np.float32)
    read, skipped = _decode(pictures, order, batch, wanted, normalise, options, threads, progress)
    if not read:
        raise DataError(
            f"none of the {len(skipped)} pictures can be read; the first, {skipped[0][0]}: "
            f"{skipped[0][1]}"
        )
    # In the files' order, so that the batch does not show in which order they were drawn.
    in_order = sorted(range(len(read)), key=read.__getitem__)
    if in_order != list(range(len(batch))):
        batch = batch[in_order]
    paths = tuple(pictures.name(read[position]) for position in in_order)
    feed = batch
    if spec.dtype == "uint8" and normalise is not None:
        raise UsageError(
            f"the input {spec.name} takes bytes, which the model normalises itself; leave out "
            "--preset, --mean and --std"
        )
    if spec.dtype not in ("", "uint8") and not spec.dtype.startswith(("float", "bfloat")):
        raise DataError(
            f"the input {spec.name} takes {spec.dtype}, which pictures are not; give arrays"
        )
    if spec.dtype == "uint8":
        feed = np.rint(batch * 255).astype(np.uint8)
    elif spec.dtype not in ("", "float32"):
        feed = batch.astype(spec.dtype)
    statistics = measure_input(spec.name, feed, axis + 1, paths)
    return Samples(
        {spec.name: feed}, len(pictures), tuple(files), paths, tuple(skipped), (statistics,)
    )


def _decode(
    pictures: Pictures,
    order: NDArray[np.int64],
    batch: NDArray[np.float32],
    wanted: PictureFormat,
    normalise: Normalisation | None,
    options: SampleOptions,
    threads: int,
    progress: Progress,
) -> tuple[list[int], list[tuple[str, str]]]:
    """Fill the batch with the first pictures in `order` that can be read.

    Returns:
        The pictures' indices in the batch's order, and (file, reason) of those left out.
    """
    read: list[int] = []
    skipped: list[tuple[str, str]] = []
    remaining: Iterator[int] = iter(order.tolist())

    def decode(index: int) -> NDArray[np.float32] | str:
        try:
            pixels = read_picture(pictures.open(index), wanted)
        except UNREADABLE as error:
            return " ".join(str(error).split()) or type(error).__name__
        if normalise is not None:
            pixels = (pixels - normalise[0]) / normalise[1]
        return pixels

    pool = ThreadPoolExecutor(threads or os.cpu_count())
    try:
        while len(read) < len(batch):
            # As many as are missing: where all can be read, one round is enough.
            indices = sorted(itertools.islice(remaining, len(batch) - len(read)))
            if not indices:
                break
            for index, result in zip(indices, pool.map(decode, indices), strict=True):
                if isinstance(result, str):
                    if options.strict:
                        raise DataError(f"can't read the picture {pictures.name(index)}: {result}")
                    skipped.append((pictures.name(index), result))
                else:
                    batch[len(read)] = result
                    read.append(index)
                    progress(len(read), len(batch))
    finally:
        # After Ctrl-C, too: what has not begun need not be decoded any more.
        pool.shutdown(wait=False, cancel_futures=True)
    return read, skipped


def _load_arrays(
    files: Sequence[Path], specs: Sequence[InputSpec], options: SampleOptions, progress: Progress
) -> Samples:
    opened = [open_arrays(path, specs) for path in files]
    available = sum(file.count for file in opened)
    if available == 0:
        raise DataError(f"the arrays in {', '.join(options.data)} hold no samples")
    order = generator(options.seed, "samples").permutation(available)
    chosen = np.sort(order[: options.count])
    feeds = {}
    statistics = []
    rows = list(_rows(opened, chosen))
    sources = tuple(f"{file.path}[{row}]" for file, row in rows)
    for spec in specs:
        shapes = {file.arrays[spec.name].shape[1:] for file in opened}
        if len(shapes) > 1:
            raise DataError(
                f"the samples for the input {spec.name} have different shapes: "
                f"{', '.join(str(list(shape)) for shape in sorted(shapes))}"
            )
        shape = shapes.pop()
        dtype = spec.dtype or _natural_dtype(opened[0].arrays[spec.name].dtype)
        batch = np.empty((len(rows), *shape), dtype)
        normalise = _array_normalisation(options, dtype, shape)
        for position, (file, row) in enumerate(rows):
            sample = file.arrays[spec.name][row]
            batch[position] = (
                sample if normalise is None else (sample - normalise[0]) / normalise[1]
            )
            progress(position + 1, len(rows))
        feeds[spec.name] = batch
        statistics.append(measure_input(spec.name, batch, None, sources))
    return Samples(feeds, available, tuple(files), sources, (), tuple(statistics))


def _rows(files: Sequence[ArrayFile], chosen: NDArray[np.int64]) -> Iterator[tuple[ArrayFile, int]]:
    """The file and row of each chosen sample; `chosen` is sorted."""
    start = 0
    remaining = iter(chosen.tolist())
    index = next(remaining, None)
    for file in files:
        while index is not None and index < start + file.count:
            yield file, index - start
            index = next(remaining, None)
        start += file.count


def _natural_dtype(dtype: np.dtype[Any]) -> str:
    """What a network takes that does not say: float32 for numbers, int64 for indices."""
    return {"f": "float32", "b": "bool"}.get(dtype.kind, "int64")


def _array_normalisation(
    options: SampleOptions, dtype: str, shape: tuple[int, ...]
) -> Normalisation | None:
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
                f"{'channel' if channels == 1 else 'channels'}; give 1 or {channels}"
            )
        array = np.asarray(values or (default,), np.float32)
        shaped.append(array.reshape([-1 if i == axis else 1 for i in range(rank)]))
    return shaped[0], shaped[1]
