"""A million paths in a few tens of bytes each."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.samples.packed_strings import PackedStrings

# Beside the number of its format, an entry's mark says that it is a link, or was named by itself.
LINK = 0x40
NAMED = 0x80
MOST_FORMATS = 0x40
FORMAT_BITS = MOST_FORMATS - 1


@dataclass(frozen=True, slots=True)
class Remarks:
    """What a user should know of a search: facts, and what may have to be changed."""

    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def include(self, other: Remarks) -> None:
        """Add those of another search."""
        self.notes.extend(other.notes)
        self.warnings.extend(other.warnings)


class FileTable(Sequence[Path]):
    """Sample files, as paths that are made when they are asked for.

    Attributes:
        folders: the folders, as they were given or found.
        reals: their real paths.
        folder_of: (n,) uint32, each file's index in `folders`.
        marks: (n,) uint8, the number of each file's format, with LINK and NAMED.
        remarks: what the user should know of the search for them.
    """

    def __init__(
        self,
        folders: Sequence[str],
        reals: Sequence[str],
        folder_of: NDArray[np.uint32],
        marks: NDArray[np.uint8],
        names: PackedStrings,
    ) -> None:
        self.folders = folders
        self.reals = reals
        self.folder_of = folder_of
        self.marks = marks
        self.remarks = Remarks()
        self._names = names

    @classmethod
    def empty(cls) -> FileTable:
        """Return a table of no files."""
        return cls([], [], np.zeros(0, np.uint32), np.zeros(0, np.uint8), PackedStrings(b""))

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        if isinstance(index, slice):
            return [Path(self.text(i)) for i in range(*index.indices(len(self)))]
        return Path(self.text(index))

    def text(self, index: int) -> str:
        """Return a path as a string.

        Raises:
            IndexError: there is no such file.
        """
        return joined(self.folders[self.folder_of[index]], self._names[index])

    def real(self, index: int) -> str:
        """Return a file's real path; reads the disk only for a link."""
        if self.marks[index] & LINK:
            return os.path.realpath(self.text(index))
        return joined(self.reals[self.folder_of[index]], self._names[index])

    @property
    def formats(self) -> NDArray[np.uint8]:
        """Number of each file's format, (n,) uint8."""
        return self.marks & np.uint8(FORMAT_BITS)

    def marked(self, mark: int) -> NDArray[np.bool_]:
        """Return whether each file has LINK or NAMED, (n,) bool."""
        return np.bitwise_and(self.marks, np.uint8(mark)).astype(bool)

    def first(self, formats: Collection[int]) -> Path | None:
        """Return the first file of one of some formats, by number; None where there is none."""
        found = np.flatnonzero(np.isin(self.formats, list(formats)))
        return self[int(found[0])] if found.size else None

    def key(self, index: int) -> str:
        """Return a key that sorts the files as their paths do, part by part."""
        return sort_key(self.text(index))

    def take(self, positions: NDArray[np.int64]) -> FileTable:
        """Return some of the files, in any order; shares the names.

        Args:
            positions: (m,) int64.
        """
        return FileTable(
            self.folders,
            self.reals,
            self.folder_of[positions],
            self.marks[positions],
            self._names.take(positions),
        )

    def part(self, start: int, stop: int) -> FileTable:
        """Return consecutive files; shares everything."""
        return FileTable(
            self.folders,
            self.reals,
            self.folder_of[start:stop],
            self.marks[start:stop],
            PackedStrings(self._names.block, self._names.starts[start:stop]),
        )

    def holds(self, path: Path) -> bool:
        """Return whether a path leads to one of the files, directly or through links.

        Needs the files in order. Reads the disk for the path itself and for links among the files;
        for all files only where the path is one of several hard links.
        """
        try:
            status = path.stat()
        except OSError:
            return False
        if status.st_nlink > 1:
            suspects: Iterable[int] = range(len(self))
        elif self._holds_by_name(os.path.realpath(path)):
            return True
        else:
            suspects = np.flatnonzero(self.marked(LINK)).tolist()
        return any(_is(self.text(index), status) for index in suspects)

    def _holds_by_name(self, real: str) -> bool:
        parent, name = os.path.split(real)
        for folder, folder_real in zip(self.folders, self.reals, strict=True):
            if folder_real == parent:
                wanted = sort_key(joined(folder, name))
                found = bisect_left(range(len(self)), wanted, key=self.key)
                if found < len(self) and self.key(found) == wanted:
                    return True
        return False


def joined(folder: str, name: str) -> str:
    """Join a folder and a name as strings; a Path would take several times as long."""
    return os.path.join(folder, name)  # noqa: PTH118


def sort_key(path: str) -> str:
    """Return a string that sorts as the path's parts do."""
    return path.replace(os.sep, "\0")


def _is(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)  # noqa: PTH116 - strings
    except OSError:
        return False
