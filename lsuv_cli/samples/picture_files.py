"""The formats of a single picture: .jpg, .png and so on."""

from __future__ import annotations

from pathlib import Path

from lsuv_cli.samples.file_table import FileTable
from lsuv_cli.samples.file_version import FileVersion

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


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
