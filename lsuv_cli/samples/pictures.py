"""Encoded pictures by number, whatever format of file they are in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from lsuv_cli.samples.file_table import Remarks


class Pictures(Protocol):
    """Pictures that may be opened in any order, and by several threads at once.

    In the order of their numbers each is found quickest.
    """

    def __len__(self) -> int:
        """Return the number of pictures."""
        ...

    def name(self, index: int) -> str:
        """Return the name of a picture in messages."""
        ...

    def open(self, index: int) -> Path | BinaryIO:
        """Return a picture's encoded bytes, as a path or as an open file.

        Raises:
            OSError: they can't be read, or the file has changed since it was found.
        """
        ...

    def version(self, index: int) -> Hashable:
        """Return a value that changes when a picture's file does, such as a `FileVersion`.

        Its hash must be the same in every process: it is made of numbers, not of text.

        Raises:
            OSError: the file is gone.
        """
        ...


@runtime_checkable
class Remarked(Protocol):
    """Pictures of whose search there is something to tell.

    Attributes:
        remarks: that.
    """

    remarks: Remarks


class Concatenation:
    """Several `Pictures`, numbered one after another."""

    def __init__(self, parts: Sequence[Pictures]) -> None:
        self._parts = parts
        self._starts = list(accumulate(map(len, parts), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def name(self, index: int) -> str:
        """Return the picture's name."""
        part, inner = self._locate(index)
        return part.name(inner)

    def open(self, index: int) -> Path | BinaryIO:
        """Return the picture's encoded bytes.

        Raises:
            OSError: it can't be read.
        """
        part, inner = self._locate(index)
        return part.open(inner)

    def version(self, index: int) -> Hashable:
        """Return the version of the picture's file.

        Raises:
            OSError: the file is gone.
        """
        part, inner = self._locate(index)
        return part.version(inner)

    def _locate(self, index: int) -> tuple[Pictures, int]:
        number = bisect_right(self._starts, index) - 1
        return self._parts[number], index - self._starts[number]


def concatenated(parts: Sequence[Pictures]) -> Pictures:
    """Join several `Pictures`; a single one is returned as it is."""
    return parts[0] if len(parts) == 1 else Concatenation(parts)
