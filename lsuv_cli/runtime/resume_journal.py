"""The resume journal: a folder from which an interrupted run goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from lsuv_cli.core.errors import OutputError, UsageError
from lsuv_cli.core.group import Group
from lsuv_cli.core.journal import Entry
from lsuv_cli.runtime.spill import SpillFile
from lsuv_cli.runtime.store import ValueStore

JOURNAL = "journal.jsonl"
VALUES = "values.bin"
LOCK = "lock"


class ResumeJournal:
    """The journal of a run, and the values between its segments; see `core.journal.Journal`.

    The journal is a file to which lines are added. A line that tells where values are is written
    once these are; and only when every process has come so far, the space of the ones before is
    used again. So at any time the shortest journal among the processes tells of values that are
    there.
    """

    def __init__(self, folder: Path, work: Mapping[str, Any], group: Group) -> None:
        """Open a resume journal, or begin one.

        Args:
            folder: where it is; made if it is not there.
            work: identifies the run; one with any other can't go on from here.
            group: the processes that share the samples; each has files of its own.

        Raises:
            OutputError: the folder can't be written.
            UsageError: it holds another run's journal, or one that a running process uses.
        """
        self.folder = folder
        self._group = group
        prefix = f"{group.rank}-of-{group.size}." if group.size > 1 else ""
        self._journal_path = folder / f"{prefix}{JOURNAL}"
        self._values_path = folder / f"{prefix}{VALUES}"
        head = {"lsuv": hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self._others():
                raise UsageError(_unlike(folder, "another number of processes"))
            self._lock_path = folder / f"{prefix}{LOCK}"
            self._lock = _locked(self._lock_path)
            lines = _lines(self._journal_path)
            if lines and lines[0] != head:
                raise UsageError(_unlike(folder, "another model, other samples or other options"))
            lines = lines or [head]
            self._entries = lines[1 : min(map(int, group.gather_text(str(len(lines)))))]
            # Write a copy first, so that the journal is whole at any time.
            copy = self._journal_path.with_suffix(".new")
            self._file: IO[bytes] = copy.open("wb")
            self._checksum = 0
            for line in [head, *self._entries]:
                self._write(line)
            copy.replace(self._journal_path)
        except OSError as error:
            raise OutputError(
                f"the resume journal can't be written in {folder}: {error.strerror}"
            ) from None
        self.is_resumed = bool(self._entries)
        self._spill = SpillFile(folder, self._values_path)
        self.store = ValueStore(0, self._spill)  # all of it on disk
        self._position = 0

    def _others(self) -> list[Path]:
        """Return the journals of a run with another number of processes."""
        ours = f"-of-{self._group.size}.{JOURNAL}" if self._group.size > 1 else None
        return [
            path
            for path in self.folder.glob(f"*{JOURNAL}")
            if path != self._journal_path and not (ours and path.name.endswith(ours))
        ]

    def recall(self) -> Entry | None:
        """Return the next step's result from the interrupted run; None where it has none."""
        if self._position == len(self._entries):
            return None
        entry: Entry = self._entries[self._position]
        self._position += 1
        self.store.restore(entry["values"])
        return entry

    def record(self, entry: Entry) -> None:
        """Write a step's result, and wait until all processes have written theirs.

        Raises:
            OutputError: it can't be written.
        """
        try:
            self._spill.flush()
            self._write({**entry, "values": self.store.index()})
        except OSError as error:
            raise OutputError(
                f"the resume journal can't be written in {self.folder}: {error.strerror}"
            ) from None
        self._group.gather(np.zeros(1))
        self._spill.reuse()

    def _write(self, line: object) -> None:
        text = json.dumps(line).encode()
        self._checksum = zlib.crc32(text, self._checksum)
        self._file.write(_checked(text, self._checksum))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self, *, finished: bool) -> None:
        """Close the files; where the run is finished, remove them."""
        # On a full disk, flushing the rest of the buffer fails once more.
        with contextlib.suppress(OSError):
            self._file.close()
        self._spill.close()
        if finished:
            for path in (self._journal_path, self._values_path, self._lock_path):
                with contextlib.suppress(OSError):
                    path.unlink()
        self._lock.close()
        if finished:
            with contextlib.suppress(OSError):
                self.folder.rmdir()


def _unlike(folder: Path, what: str) -> str:
    return (
        f"the resume journal in {folder} is of a run with {what}; give another folder, or remove "
        "this one"
    )


def _locked(path: Path) -> IO[bytes]:
    """Open a file that only one process can have open, until it closes it or ends.

    Raises:
        UsageError: another one has it open.
    """
    file = path.open("wb")
    try:
        import fcntl
    except ImportError:  # Windows
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(
            f"another run uses the resume journal in {path.parent}; wait for its end, or give "
            "another folder"
        ) from None
    except OSError:  # a file system without locks
        return file
    return file


def _lines(path: Path) -> list[Any]:
    """Return the journal's lines, up to one that is damaged or incomplete."""
    lines: list[Any] = []
    checksum = 0
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            text = line.rpartition(b" ")[0]
            checksum = zlib.crc32(text, checksum)
            if line != _checked(text, checksum):
                break
            lines.append(json.loads(text))
    return lines


def _checked(text: bytes, checksum: int) -> bytes:
    """Return a line of the journal, with the checksum of all texts up to it."""
    return b"%s %08x\n" % (text, checksum)


@contextmanager
def open_resume_journal(
    folder: Path, work: Mapping[str, Any], group: Group
) -> Iterator[ResumeJournal]:
    """Open a resume journal that is removed when the work inside is done."""
    journal = ResumeJournal(folder, work, group)
    try:
        yield journal
    except BaseException:
        journal.close(finished=False)
        raise
    journal.close(finished=True)
