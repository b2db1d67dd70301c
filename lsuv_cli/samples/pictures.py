"""Pictures by their number, wherever they lie."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples.file_table import FileTable
from lsuv_cli.samples.kinds import SampleKind
from lsuv_cli.samples.parquet import ParquetTable
from lsuv_cli.samples.parquet_rows import RowReader
from lsuv_cli.samples.tar_shard import TarShard


class Pictures(Protocol):
    """Pictures that may be opened in any order, and by several threads at once.

    In the order of their numbers each is found quickest.
    """

    def __len__(self) -> int:
        """How many there are."""
        ...

    def name(self, index: int) -> str:
        """What messages call a picture."""
        ...

    def open(self, index: int) -> Path | BinaryIO:
        """A picture's encoded bytes, as a file to open or one that is open.

        Raises:
            OSError: they can't be read, or the file has changed since it was found.
        """
        ...

    def version(self, index: int) -> tuple[int, ...]:
        """What changes when a picture's file does.

        Raises:
            OSError: the file is gone.
        """
        ...


class PictureFiles:
    """A picture a file."""

    def __init__(self, files: FileTable, start: int, stop: int) -> None:
        """Take part of the files.

        Args:
            files: what was found.
            start: the first picture's position.
            stop: the position after the last one's.
        """
        self._files = files
        self._range = range(start, stop)

    def __len__(self) -> int:
        return len(self._range)

    def name(self, index: int) -> str:
        """The file's path."""
        return self._files.text(self._range[index])

    def open(self, index: int) -> Path:
        """The file's path."""
        return self._files[self._range[index]]

    def version(self, index: int) -> tuple[int, ...]:
        """Size and time of the last change.

        Raises:
            OSError: the file is gone.
        """
        status = os.stat(self._files.text(self._range[index]))  # noqa: PTH116 - a Path costs more
        return status.st_size, status.st_mtime_ns


class Concatenation:
    """Pictures after pictures."""

    def __init__(self, parts: Sequence[Pictures]) -> None:
        self._parts = parts
        self._starts = list(accumulate(map(len, parts), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def name(self, index: int) -> str:
        """The name in the part that holds it."""
        part, inner = self._locate(index)
        return part.name(inner)

    def open(self, index: int) -> Path | BinaryIO:
        """The picture of the part that holds it.

        Raises:
            OSError: it can't be read.
        """
        part, inner = self._locate(index)
        return part.open(inner)

    def version(self, index: int) -> tuple[int, ...]:
        """The version in the part that holds it.

        Raises:
            OSError: the file is gone.
        """
        part, inner = self._locate(index)
        return part.version(inner)

    def _locate(self, index: int) -> tuple[Pictures, int]:
        number = bisect_right(self._starts, index) - 1
        return self._parts[number], index - self._starts[number]


def open_pictures(files: FileTable) -> Pictures:
    """The pictures in files, tar shards and Parquet files, by path and then as they lie inside.

    Reads the headers of all shards and the footers of all Parquet files, but no picture.

    Args:
        files: pictures and collections of them; nothing else.

    Raises:
        DataError: a collection can't be read or holds no pictures, or a library for it is not
            installed.
    """
    rows = RowReader()
    parts: list[Pictures] = []
    start = 0
    for position in np.flatnonzero(files.kinds != SampleKind.PICTURE).tolist():
        if position > start:
            parts.append(PictureFiles(files, start, position))
        path = files[position]
        parts.append(
            TarShard(path) if files.kinds[position] == SampleKind.TAR else ParquetTable(path, rows)
        )
        start = position + 1
    if start < len(files):
        parts.append(PictureFiles(files, start, len(files)))
    if not any(map(len, parts)):
        raise DataError(f"{files[0]} holds no pictures: its table is empty")
    return parts[0] if len(parts) == 1 else Concatenation(parts)
