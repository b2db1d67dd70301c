"""Versions of files, to notice that one has changed since it was indexed."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileVersion:
    """A file's size in bytes and the time of its last change in nanoseconds."""

    size: int
    changed_ns: int

    @classmethod
    def of(cls, file: int | str | os.PathLike[str]) -> FileVersion:
        """Return a file's version, by its path or descriptor.

        Raises:
            OSError: it is not there.
        """
        status = os.stat(file)  # noqa: PTH116 - a descriptor too
        return cls(status.st_size, status.st_mtime_ns)

    def check(self, file: int | str | os.PathLike[str]) -> None:
        """Check that a file still has this version.

        Raises:
            OSError: it is not there any more, or has changed.
        """
        if FileVersion.of(file) != self:
            raise OSError("the file has changed since it was listed")
