"""Pictures as samples, decoded by several threads."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from lsuv_cli.core.batches import SampleShapes
from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.core.records import Feeds, InputSpec, Specs
from lsuv_cli.samples.images import picture_transform, read_picture
from lsuv_cli.samples.normalisation import normalisation_of
from lsuv_cli.samples.pictures import Pictures
from lsuv_cli.samples.source import Arrays

# Exceptions for damaged files depend on Pillow's decoder; libavif's is a RuntimeError.
UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    MemoryError,
    RuntimeError,
    Image.DecompressionBombError,
)


class PictureSource:
    """Pictures, decoded by several threads; see `Source`."""

    def __init__(
        self, pictures: Pictures, spec: InputSpec, options: SampleOptions, threads: int
    ) -> None:
        """Begin without reading a picture.

        Raises:
            UsageError: an option contradicts the model's input.
            DataError: the input takes no pictures.
        """
        self.available = len(pictures)
        self._pictures = pictures
        self._wanted = picture_transform(spec, options.resize, options.crop)
        axis = 0 if self._wanted.channels_first else 2
        self.channel_axis: int | None = axis + 1
        self._normalise = normalisation_of(options, self._wanted.channels, axis, 3)
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
        self.specs: Specs = {spec.name: spec}
        self.constants: Feeds = {}
        self._pool = ThreadPoolExecutor(threads or os.cpu_count())

    def name(self, sample: int) -> str:
        """Return the picture's file, and where it is in there."""
        return self._pictures.name(sample)

    def version(self, sample: int) -> Hashable:
        """Return the version of the picture's file."""
        return self._pictures.version(sample)

    def fill(self, samples: Sequence[int], batch: Arrays) -> dict[int, str]:
        """Decode, resize, crop and normalise, several pictures at a time."""
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
        """Stop decoding; pictures that have not been begun are dropped, as after Ctrl-C."""
        self._pool.shutdown(wait=False, cancel_futures=True)
