"""Many short strings without an object for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

END = b"\0"


def pack(strings: Sequence[str]) -> bytes:
    """Concatenate strings that have no NUL, each with a NUL at its end."""
    # Bytes of a file's name that are not UTF-8 are lone surrogates in Python.
    return b"".join((END.decode().join(strings).encode("utf-8", "surrogatepass"), END))


class PackedStrings:
    """Strings in one block of bytes and an offset for each.

    Attributes:
        block: the bytes, shared by selections.
        starts: (n,) int64, where each begins.
    """

    __slots__ = ("block", "starts")

    def __init__(self, block: bytes | bytearray, starts: NDArray[np.int64] | None = None) -> None:
        """Take the output of `pack`.

        Args:
            block: not copied; must not be changed afterwards.
            starts: (n,) int64, where each string begins; None: all that the block holds.
        """
        self.block = block
        if starts is None:
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == END[0])
            starts = np.zeros_like(ends)
            starts[1:] = ends[:-1] + 1
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> str:
        start = int(self.starts[index])
        stop = self.block.index(END, start)
        return self.block[start:stop].decode("utf-8", "surrogatepass")

    def take(self, positions: NDArray[np.int64]) -> PackedStrings:
        """Return some of the strings, in any order; shares the bytes.

        Args:
            positions: (m,) int64.
        """
        return PackedStrings(self.block, self.starts[positions])
