"""The formats of a single picture: .jpg, .png and so on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from PIL import features

from lsuv_cli.samples.file_table import FileTable
from lsuv_cli.samples.file_version import FileVersion

PICTURE_SUFFIXES = (
    *(".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm"),
    *(".ppm", ".tif", ".tiff", ".webp"),
)
AVIF_SUFFIXES = (".avif",)
HEIF_SUFFIXES = (".heic", ".heif", ".hif")


@cache
def lacking_avif() -> str:
    """Return what reads AVIF; "" where Pillow does, as its wheels do, built without it or not."""
    return "" if features.check("avif") else "pip install --force-reinstall 'pillow>=11.3'"


class PictureFiles:
    """Files of one picture each; see `pictures.Pictures`."""

    def __init__(self, files: FileTable) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Return the file's path, as text."""
        return self._files.text(index)

    def open(self, index: int) -> Path:
        """Return the file's path."""
        return self._files[index]

    def version(self, index: int) -> FileVersion:
        """Return the file's version.

        Raises:
            OSError: the file is gone.
        """
        return FileVersion.of(self._files.text(index))
