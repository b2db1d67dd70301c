"""ONNX Runtime's arena on the CPU: what stays resident while buffers are taken and given back.

Buffers of different sizes do not fit into each other's gaps, so that it comes to up to twice what
is in use at once.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

UNIT_BYTES = 256

# A free chunk is split for a buffer half its size at most, or if so much would be left over.
MAX_DEAD_BYTES = 128 << 20


@dataclass(slots=True, eq=False)
class Chunk:
    """A stretch of a region, in use or free.

    Attributes:
        region: the region's number.
        start: where it begins in the region, in bytes.
        size: how long it is.
        is_free: whether nobody uses it.
        before: the one before it in the region, if any.
        after: the one behind it in the region, if any.
    """

    region: int
    start: int
    size: int
    is_free: bool = True
    before: Chunk | None = field(default=None, repr=False)
    after: Chunk | None = field(default=None, repr=False)

    @property
    def key(self) -> tuple[int, int, int]:
        """The order in which free chunks are tried: the smallest; of those the lowest address.

        The system hands out later regions at lower addresses.
        """
        return self.size, -self.region, self.start


class Arena:
    """An arena that gives nothing back to the system, and extends itself by what is asked for.

    Attributes:
        resident_bytes: all that it has got from the system.
    """

    def __init__(self) -> None:
        self.resident_bytes = 0
        self._regions = 0
        self._free: list[tuple[tuple[int, int, int], Chunk]] = []

    def take(self, size: int) -> Chunk | None:
        """Take a buffer of some bytes; None for one of none."""
        if size <= 0:
            return None
        size = -(-size // UNIT_BYTES) * UNIT_BYTES
        place = bisect_left(self._free, size, key=lambda entry: entry[0][0])
        chunk = self._free.pop(place)[1] if place < len(self._free) else self._extended(size)
        chunk.is_free = False
        if chunk.size >= 2 * size or chunk.size - size >= MAX_DEAD_BYTES:
            self._split(chunk, size)
        return chunk

    def give_back(self, chunk: Chunk | None) -> None:
        """Free what `take` gave."""
        if chunk is None:
            return
        after, before = chunk.after, chunk.before
        if after is not None and after.is_free:
            self._forget(after)
            self._join(chunk, after)
        if before is not None and before.is_free:
            self._forget(before)
            self._join(before, chunk)
            chunk = before
        self._remember(chunk)

    def _extended(self, size: int) -> Chunk:
        self.resident_bytes += size
        self._regions += 1
        return Chunk(self._regions, 0, size)

    def _split(self, chunk: Chunk, size: int) -> None:
        rest = Chunk(chunk.region, chunk.start + size, chunk.size - size)
        rest.before, rest.after = chunk, chunk.after
        if rest.after is not None:
            rest.after.before = rest
        chunk.after, chunk.size = rest, size
        self._remember(rest)

    @staticmethod
    def _join(chunk: Chunk, after: Chunk) -> None:
        chunk.size += after.size
        chunk.after = after.after
        if chunk.after is not None:
            chunk.after.before = chunk

    def _remember(self, chunk: Chunk) -> None:
        chunk.is_free = True
        insort(self._free, (chunk.key, chunk), key=lambda entry: entry[0])

    def _forget(self, chunk: Chunk) -> None:
        del self._free[bisect_left(self._free, chunk.key, key=lambda entry: entry[0])]
