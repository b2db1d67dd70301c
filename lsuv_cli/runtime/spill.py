"""The spill file: arrays on disk that do not fit into memory."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Space left free on the file system for others.
RESERVE_BYTES = 64 * 2**20


class SpillFile:
    """A file of regions; free regions are used again.

    Without a path, the file is anonymous where the system supports that: it disappears when the
    process ends, however it ends, and nobody can delete it before then. It is made when it
    is first written to; where it can't be made, it has no free bytes.
    """

    def __init__(self, folder: Path, path: Path | None = None) -> None:
        """Begin with an empty file, or an existing one.

        Args:
            folder: where it is made.
            path: a file there that stays when the process ends, and in which space is used again
                only after `reuse`.
        """
        self.folder = folder
        self._path = path
        self._free: list[tuple[int, int]] = []
        self._released: list[tuple[int, int]] = []
        self._end = 0
        self._file: io.FileIO | None = None
        # Batches are loaded ahead on a thread. `os.preadv`, which needs no position, is POSIX's.
        self._position = threading.Lock()

    def close(self) -> None:
        """Close the file, which removes it if it has no path."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def free_bytes(self) -> int:
        """Bytes that can still be written."""
        try:
            on_disk = shutil.disk_usage(self.folder).free - RESERVE_BYTES
        except OSError:
            on_disk = 0
        return max(0, on_disk) + sum(size for _, size in self._free)

    def _opened(self) -> io.FileIO:
        if self._file is None:
            if self._path is None:
                self._file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115 - closed by close()
            else:
                self._path.touch()
                self._file = self._path.open("r+b", buffering=0)
        return self._file

    def flush(self) -> None:
        """Wait until what was written is on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def write(self, value: NDArray[Any]) -> tuple[int, int] | None:
        """Write an array.

        Args:
            value: of any shape and dtype.

        Returns:
            Where it is, and its checksum; None where the file system has no space for it.
        """
        size = value.nbytes
        if not size:
            return 0, 0  # an empty array takes no region, and has no bytes to check
        if self.free_bytes < size:
            return None
        offset = self._allocate(size)
        data = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
        try:
            with self._position:
                file = self._opened()
                file.seek(offset)
                written = 0
                while written < len(data):
                    written += file.write(data[written:])
        except OSError:
            self.release(offset, size)
            return None
        return offset, self._checksum(data)

    def read(
        self, offset: int, checksum: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """Read an array.

        Raises:
            OSError: it can't be read, or is not what was written.
        """
        value = np.empty(shape, dtype)
        if not value.nbytes:
            return value  # has no region
        data = value.reshape(-1).view(np.uint8).data
        with self._position:
            file = self._opened()
            file.seek(offset)
            done = 0
            while done < len(data):
                count = file.readinto(data[done:])
                if not count:
                    raise OSError(f"{self.folder}: values that were written there are gone")
                done += count
        if self._checksum(data) != checksum:
            raise OSError(f"{self.folder}: values that were written there have changed")
        return value

    def _checksum(self, data: memoryview) -> int:
        """Of a file that stays; nobody can change one without a name, and it takes its time."""
        return 0 if self._path is None else zlib.crc32(data)

    def release(self, offset: int, size: int) -> None:
        """Free a region; in a file that stays, only `reuse` lets it be used again."""
        if not size:
            return
        if self._path is not None:
            self._released.append((offset, size))
        else:
            self._merge([(offset, size)])

    def reuse(self) -> None:
        """Let the regions that were released be used again."""
        self._merge(self._released)
        self._released = []

    def occupy(self, regions: Iterable[tuple[int, int]]) -> None:
        """Mark regions of an existing file as used, and all others as free."""
        self._free, self._released, self._end = [], [], 0
        for offset, size in sorted(region for region in regions if region[1]):
            if offset > self._end:
                self._free.append((self._end, offset - self._end))
            self._end = offset + size

    def _merge(self, regions: Iterable[tuple[int, int]]) -> None:
        merged: list[tuple[int, int]] = []
        for start, length in sorted([*self._free, *regions]):
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = merged[-1][0], merged[-1][1] + length
            else:
                merged.append((start, length))
        self._free = merged

    def _allocate(self, size: int) -> int:
        for position, (start, length) in enumerate(self._free):
            if length >= size:
                rest = [(start + size, length - size)] if length > size else []
                self._free[position : position + 1] = rest
                return start
        offset = self._end
        if self._free and sum(self._free[-1]) == self._end:
            offset = self._free.pop()[0]
        self._end = offset + size
        return offset
