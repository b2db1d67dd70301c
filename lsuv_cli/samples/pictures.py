"""Encoded pictures by number, whatever format of file they are in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Protocol


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

    def version(self, index: int) -> Hashable:
        """Return what changes when a picture's file does, such as a `FileVersion`.

        Its hash must be the same in every process: it is made of numbers, not of text.

        Raises:
            OSError: the file is gone.
        """
        ...


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

    def version(self, index: int) -> Hashable:
        """The version in the part that holds it.

        Raises:
            OSError: the file is gone.
        """
        part, inner = self._locate(index)
        return part.version(inner)

    def _locate(self, index: int) -> tuple[Pictures, int]:
        number = bisect_right(self._starts, index) - 1
        return self._parts[number], index - self._starts[number]


def concatenated(parts: Sequence[Pictures]) -> Pictures:
    """Return pictures after pictures; those of a single part as they are."""
    return parts[0] if len(parts) == 1 else Concatenation(parts)
