"""Pictures to float32 arrays in [0, 1], as torchvision's transforms give them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.options import Size
from lsuv_cli.core.records import InputSpec
from lsuv_cli.samples.heif import register_plugin

# They say that a picture is large, its EXIF data damaged or its palette transparent. It is decoded
# nevertheless, and the warning, about a line in Pillow, would not say which file it concerns.
warnings.filterwarnings("ignore", module=r"PIL\.")

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
DEEP_GREY_MODES = frozenset(("I;16", "I;16B", "I;16L", "I;16N", "I"))
DEEP_GREY_WHITE = 65535.0

MAX_RESIZED_PIXELS = 1 << 24

# A JPEG is decoded to at least this multiple of its final size: decoded to that size, it would not
# be resized with antialiasing, and the variance of a detailed picture would be off by a fifth.
JPEG_MARGIN = 3


@dataclass(frozen=True, slots=True)
class PictureTransform:
    """The array that a picture becomes: its layout and size, and the resize before the crop.

    Attributes:
        channels: 1, 3 or 4.
        channels_first: whether the array is (c, h, w) or (h, w, c).
        height: pixels.
        width: pixels.
        resize: to what the picture is resized before the centre is cut out; None: until it
            just covers height x width.
    """

    channels: int
    channels_first: bool
    height: int
    width: int
    resize: Size | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """The array's shape."""
        if self.channels_first:
            return self.channels, self.height, self.width
        return self.height, self.width, self.channels


def picture_transform(spec: InputSpec, resize: Size | None, crop: Size | None) -> PictureTransform:
    """Return how pictures become arrays for a model's input.

    Raises:
        DataError: the input takes no pictures, or a size is contradicted.
        UsageError: a size is left open, by the options too.
    """
    if spec.shape is None:
        raise UsageError(
            f"the model does not specify the size of its input {spec.name}; give it, as "
            f"--input-shape {spec.name}:3,224,224"
        )
    if len(spec.shape) != 4:
        raise DataError(
            f"pictures don't fit the input {spec.describe()}, which has {len(spec.shape)} axes "
            "instead of 4; give arrays instead"
        )
    sizes = spec.sample_shape or ()
    channels_first = sizes[0] in MODES or sizes[2] not in MODES
    channels = sizes[0] if channels_first else sizes[2]
    if channels is not None and channels not in MODES:
        raise DataError(
            f"the input {spec.describe()} wants {channels} channels, but pictures have 1, 3 or 4; "
            "give arrays instead"
        )
    height, width = sizes[1:] if channels_first else sizes[:2]
    wanted = _size(crop) or _exact(resize)
    if wanted is not None:
        for size, known in zip(wanted, (height, width), strict=True):
            if known is not None and known != size:
                raise DataError(
                    f"pictures of {wanted[0]}x{wanted[1]} don't fit the input {spec.describe()}; "
                    "give --crop or --resize the model's size, or leave them out"
                )
        height, width = wanted
    if height is None or width is None or channels is None:
        raise UsageError(
            f"the model leaves the size of its input open ({spec.describe()}); give it, as "
            f"--input-shape {spec.name}:3,224,224"
        )
    return PictureTransform(channels, channels_first, height, width, resize)


def read_picture(source: Path | BinaryIO, wanted: PictureTransform) -> NDArray[np.float32]:
    """Decode, turn upright, convert, resize and crop a picture.

    Args:
        source: its file, or one that is open, which stays so.
        wanted: what it is made into.

    Returns:
        float32 of `wanted.shape`, in [0, 1]; not yet normalised.

    Raises:
        OSError, ValueError, SyntaxError, RuntimeError: Pillow can't decode the file.
    """
    with _opened(source) as image:
        # A JPEG decodes several times faster at a half, a quarter or an eighth of its size.
        least = JPEG_MARGIN * max(_target_size(image.size, wanted))
        image.draft(None, (least, least))
        upright = ImageOps.exif_transpose(image)
        white = 255.0
        if upright.mode in DEEP_GREY_MODES:
            upright, white = upright.convert("F"), DEEP_GREY_WHITE
        elif upright.mode == "F":
            white = 1.0
        else:
            upright = upright.convert(MODES[wanted.channels])
        upright = _resize_and_crop(upright, wanted)
        pixels = np.asarray(upright, np.float32) / np.float32(white)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], wanted.channels, axis=2)
        pixels[:, :, 3:] = 1  # opaque
    return pixels.transpose(2, 0, 1) if wanted.channels_first else pixels


def _opened(source: Path | BinaryIO) -> Image.Image:
    try:
        return _identified(source)
    except UnidentifiedImageError:
        # It may be HEIF, in a collection or under another suffix.
        if not register_plugin():
            raise
    return _identified(source)


def _identified(source: Path | BinaryIO) -> Image.Image:
    try:
        return Image.open(source)
    except UnidentifiedImageError:
        if isinstance(source, Path):
            raise
        # Pillow's message has the address of the object in memory, which tells a user nothing.
        raise UnidentifiedImageError("cannot identify image file") from None


def _resize_and_crop(image: Image.Image, wanted: PictureTransform) -> Image.Image:
    width, height = _target_size(image.size, wanted)
    left = round((width - wanted.width) / 2)
    top = round((height - wanted.height) / 2)
    if width * height > MAX_RESIZED_PIXELS:
        # A very long, thin picture might fill the memory when resized whole: resize the crop alone.
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, (left + wanted.width) * x, (top + wanted.height) * y)
        return image.resize((wanted.width, wanted.height), Image.Resampling.BILINEAR, box)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    if (width, height) != (wanted.width, wanted.height):
        image = image.crop((left, top, left + wanted.width, top + wanted.height))
    return image


def _target_size(size: tuple[int, int], wanted: PictureTransform) -> tuple[int, int]:
    """Return the (width, height) to resize a picture to."""
    width, height = size
    if wanted.resize is None:
        if width * wanted.height < height * wanted.width:
            return wanted.width, height * wanted.width // width
        return width * wanted.height // height, wanted.height
    if wanted.resize.height is not None:
        return wanted.resize.width, wanted.resize.height
    shorter = wanted.resize.width
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _size(size: Size | None) -> tuple[int, int] | None:
    """Return a crop's (height, width); one number means a square."""
    if size is None:
        return None
    return size.height or size.width, size.width


def _exact(size: Size | None) -> tuple[int, int] | None:
    """Return a resize's (height, width); None where it does not give both."""
    return None if size is None or size.height is None else (size.height, size.width)
