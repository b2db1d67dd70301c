"""Lists of sample files, as `find -print0` and `ls` write them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from lsuv_cli.core.errors import DataError
from lsuv_cli.core.text_marks import without_mark
from lsuv_cli.samples.file_table import NAMED, joined
from lsuv_cli.samples.file_table_builder import FileTableBuilder
from lsuv_cli.samples.folders import add_folder, folder_text
from lsuv_cli.samples.formats import described_formats, format_number

LIST_MARK = "@"
STDIN = "@-"

# Longer than any path, so that the first block has a NUL if NULs separate the entries.
BLOCK_BYTES = 1 << 20

SHOWN_LENGTH = 200


def add_listed(pattern: str, builder: FileTableBuilder, sources: Iterator[int]) -> None:
    """Add the files and folders that a list names, each as if it had been given by itself.

    One path is separated from the next by NUL where there is one in the list, else by a newline.
    Paths are taken literally and are relative to the current folder.

    Args:
        pattern: `@FILE`, or `@-` for stdin.
        builder: takes the files.
        sources: numbers of searches.

    Raises:
        DataError: the list can't be read, a path leads nowhere, or a file is of another type.
    """
    try:
        if pattern == STDIN:
            _add_entries(sys.stdin.buffer, pattern, builder, sources)
        else:
            with Path(pattern.removeprefix(LIST_MARK)).open("rb") as file:
                _add_entries(file, pattern, builder, sources)
    except OSError as error:
        raise DataError(
            f"--data {pattern}: the list can't be read: {error.strerror}; a path that begins with "
            f"{LIST_MARK} is given as ./{LIST_MARK}"
        ) from None
    except ValueError as error:
        raise DataError(f"--data {pattern}: the list can't be read: {error}") from None


def _add_entries(
    file: BinaryIO, pattern: str, builder: FileTableBuilder, sources: Iterator[int]
) -> None:
    # Consecutive entries of one folder are added together: added one by one, each name of a million
    # would have to be compared with all others.
    for folder, entries in groupby(map(os.path.split, _paths(file)), itemgetter(0)):
        _add_run(folder, [name for _, name in entries], pattern, builder, sources)


def _paths(file: BinaryIO) -> Iterator[str]:
    for entry in _entries(file):
        if entry:
            yield os.fsdecode(entry)


def _entries(file: BinaryIO) -> Iterator[bytes]:
    block = without_mark(file.read(BLOCK_BYTES))
    separator, end = (b"\0", b"") if b"\0" in block else (b"\n", b"\r")
    rest = b""
    while block:
        *whole, rest = (rest + block).split(separator)
        for entry in whole:
            yield entry.removesuffix(end)
        block = file.read(BLOCK_BYTES)
    yield rest.removesuffix(end)


def _add_run(
    given_folder: str,
    names: Sequence[str],
    pattern: str,
    builder: FileTableBuilder,
    sources: Iterator[int],
) -> None:
    """Add entries of one folder."""
    folder = folder_text(Path(given_folder))
    files: set[str] = set()
    links: set[str] = set()
    for name in names:
        path = joined(given_folder, name)
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                links.add(name)
                mode = os.stat(path).st_mode  # noqa: PTH116 - a million Paths would take their time
        except (OSError, ValueError):
            raise DataError(f"no such data in {pattern}: {path[:SHOWN_LENGTH]!r}") from None
        if stat.S_ISDIR(mode):
            add_folder(Path(path), builder, next(sources))
        elif not stat.S_ISREG(mode) or format_number(name) is None:
            raise DataError(
                f"{path[:SHOWN_LENGTH]!r} in {pattern}: not a type that can be read; list only "
                f"{described_formats()}"
            )
        else:
            files.add(name)
    builder.add(folder, sorted(files), links, NAMED, next(sources))
