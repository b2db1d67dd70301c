"""Collecting the files of folders into a table."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lsuv_cli.samples.file_table import LINK, FileTable, joined, sort_key
from lsuv_cli.samples.packed_strings import PackedStrings, pack
from lsuv_cli.samples.passed_over import PassedOver

# Names packed at a time, which keeps the memory that packing needs small.
CHUNK = 1 << 16


class FileTableBuilder:
    """Collects the files of folders, run by run.

    Attributes:
        in_order: whether the runs came in the order of their paths.
        doubtful: real paths of the folders that may hold one file twice, as more than one
            source named them.
        passed_over: what is no sample, by the real path of its folder, however often that is
            searched.
    """

    def __init__(self, format_number: Callable[[str], int | None]) -> None:
        """Begin without files.

        Args:
            format_number: returns the number of a file's format by its name.
        """
        self._format_number = format_number
        self.in_order = True
        self.doubtful: set[str] = set()
        self.passed_over: dict[str, PassedOver] = {}
        self._folders: dict[str, int] = {}
        self._reals: list[str] = []
        self._source_of: dict[str, tuple[int, int]] = {}
        self._folder_of = array("I")
        self._marks = bytearray()
        self._block = bytearray()
        self._last = ""

    def add(
        self, folder: str, names: Sequence[str], links: Iterable[str], marks: int, source: int
    ) -> None:
        """Add files of one folder.

        Args:
            folder: as it shall stand in the paths; "" for the current one.
            names: of sample files of known formats, sorted.
            links: those of them that are, or may be, links.
            marks: NAMED, or 0.
            source: a number; within one source no file of this folder comes twice.
        """
        if not names:
            return
        index = self._index(folder, source)
        self._folder_of.extend(array("I", [index]) * len(names))
        linked = frozenset(links)
        number_of = self._format_number
        self._marks += bytes(
            (number_of(name) or 0) | marks | (LINK if name in linked else 0) for name in names
        )
        for start in range(0, len(names), CHUNK):
            self._block += pack(names[start : start + CHUNK])
        first, last = (sort_key(joined(folder, names[i])) for i in (0, -1))
        self.in_order &= self._last < first
        self._last = last

    def _index(self, folder: str, source: int) -> int:
        index = self._folders.setdefault(folder, len(self._folders))
        if index == len(self._reals):
            real = os.path.realpath(folder)
            self._reals.append(folder if real == folder else real)
        real = self._reals[index]
        if self._source_of.setdefault(real, (source, index)) != (source, index):
            self.doubtful.add(real)
        return index

    def build(self) -> FileTable:
        """Return the table of all files added, in that order."""
        return FileTable(
            list(self._folders),
            self._reals,
            np.frombuffer(self._folder_of, np.uint32),
            np.frombuffer(self._marks, np.uint8),
            PackedStrings(self._block),
        )
