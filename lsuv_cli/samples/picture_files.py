"""The formats of a single picture: .jpg, .png and so on."""

from __future__ import annotations

import os
from pathlib import Path

from lsuv_cli.samples.file_table import FileTable

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class PictureFiles:
    """Files of one picture each; see `Pictures`."""

    def __init__(self, files: FileTable) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """The file's path."""
        return self._files.text(index)

    def open(self, index: int) -> Path:
        """The file's path."""
        return self._files[index]

    def version(self, index: int) -> tuple[int, ...]:
        """Size and time of the last change.

        Raises:
            OSError: the file is gone.
        """
        status = os.stat(self._files.text(index))  # noqa: PTH116 - a Path costs more
        return status.st_size, status.st_mtime_ns
