"""Finding samples, and opening the files that they are in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import InputSpec
from lsuv_cli.samples import formats
from lsuv_cli.samples.array_source import ArraySource
from lsuv_cli.samples.file_table import FileTable
from lsuv_cli.samples.files import find_files
from lsuv_cli.samples.formats import PictureFormat
from lsuv_cli.samples.input_shapes import with_shapes
from lsuv_cli.samples.picture_source import PictureSource
from lsuv_cli.samples.pictures import Pictures, Remarked, concatenated
from lsuv_cli.samples.source import Source

# Takes the inputs to be fed, the options of samples, and a number of threads.
FindSamples = Callable[[Sequence[InputSpec], SampleOptions, int], tuple[Source, FileTable]]


def open_samples(
    inputs: Sequence[InputSpec], options: SampleOptions, threads: int
) -> tuple[Source, FileTable]:
    """Find samples, and open the files that they are in.

    Args:
        inputs: the model's.
        options: which samples are wanted, and how pictures become arrays.
        threads: decoding threads; 0 for one per core.

    Returns:
        The samples, and every file that was found.

    Raises:
        UsageError: an option contradicts the model's inputs.
        DataError: there are no samples, or they can't be used.
    """
    specs = with_shapes(inputs, options.input_shapes)
    files = find_files(options.data, options.leave_out)
    picture, array = files.first(formats.FORMATS.pictures), files.first(formats.FORMATS.arrays)
    if picture is None:
        return ArraySource(files, specs, options), files
    if array is not None:
        raise DataError(f"--data holds pictures ({picture}) and arrays ({array}); give one kind")
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise DataError(
            f"the model has the inputs {names}, and pictures can feed only one; "
            "give .npz files keyed by their names, or --feed NAME=VALUE for one that is the same "
            "for all samples"
        )
    if options.input_shapes and len(specs[0].shape or ()) == 5:
        sizes = ",".join(map(str, (specs[0].shape or ())[1:]))
        raise UsageError(
            f"--input-shape {sizes} has one size too many for a picture; give it without the batch "
            "axis, as 3,224,224"
        )
    return PictureSource(open_pictures(files), specs[0], options, threads), files


def open_pictures(files: FileTable) -> Pictures:
    """Open the pictures in files and collections, by path and then as they lie inside.

    Reads no picture, but the headers of all shards and the footers of all Parquet files.

    Args:
        files: of formats of pictures; not empty.

    Raises:
        DataError: a collection can't be read or holds no pictures, or a library for it is not
            installed.
    """
    numbers = files.formats
    bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(files)]
    parts: list[Pictures] = []
    for start, stop in pairwise(bounds):
        picture_format = formats.FORMATS[int(numbers[start])]
        assert isinstance(picture_format, PictureFormat)
        part = picture_format.open(files.part(start, stop))
        if isinstance(part, Remarked):
            files.remarks.include(part.remarks)
        parts.append(part)
    if not any(map(len, parts)):
        raise DataError(f"{files[0]} holds no pictures: its table is empty")
    return concatenated(parts)
