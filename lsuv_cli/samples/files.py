"""Finding the sample files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.addresses import download_advice
from lsuv_cli.core.errors import DataError
from lsuv_cli.samples import formats
from lsuv_cli.samples.braces import expand_braces, has_braces
from lsuv_cli.samples.file_table import LINK, NAMED, FileTable, joined
from lsuv_cli.samples.file_table_builder import FileTableBuilder
from lsuv_cli.samples.folders import add_folder, folder_text
from lsuv_cli.samples.formats import described_formats, format_number
from lsuv_cli.samples.listed import LIST_MARK, add_listed
from lsuv_cli.samples.passed_over import PassedOver


def find_files(patterns: Sequence[str], leave_out: Iterable[Path] = ()) -> FileTable:
    """Find the sample files under files, folders and globs: each once, sorted by path.

    Folders are searched with their subfolders, links followed; hidden files and files of other
    types are passed over. A file named by itself must be of a known type. Braces, as in
    `shard-{000..099}.tar`, are expanded where nothing has that very name. `@FILE` is a list of
    files and folders, `@-` one on stdin.

    Args:
        patterns: what was given as --data.
        leave_out: files that are no samples, wherever they lie: outputs of an earlier run,
            and their shards.

    Raises:
        DataError: nothing is there, or a named file is of another type.
    """
    builder = FileTableBuilder(format_number)
    sources = count()
    for pattern in patterns:
        _find(pattern, builder, sources)
    files = builder.build()
    if not builder.in_order:
        files = files.take(np.array(sorted(range(len(files)), key=files.key), np.int64))
    files = _without(files, {os.path.realpath(path) for path in leave_out})
    files = _each_once(files, builder.doubtful)
    if not files:
        raise DataError(
            f"no sample files in {', '.join(patterns)}; there must be {described_formats()}"
            f"{_and_passed_over(builder)}"
        )
    _remark(files, builder)
    return files


def _and_passed_over(builder: FileTableBuilder) -> str:
    passed_over = _all_passed_over(builder)
    if not passed_over.total:
        return ""
    return f"; found {passed_over.describe()}{_remedies(passed_over)}"


def _remark(files: FileTable, builder: FileTableBuilder) -> None:
    """Note the files of other types; warn of those that could be read."""
    passed_over = _all_passed_over(builder)
    if not passed_over.total:
        return
    remedies = _remedies(passed_over)
    files_text = "1 file" if passed_over.total == 1 else f"{passed_over.total} files"
    text = f"passed over {files_text} of other types: {passed_over.describe()}{remedies}"
    (files.remarks.warnings if remedies else files.remarks.notes).append(text)


def _all_passed_over(builder: FileTableBuilder) -> PassedOver:
    whole = PassedOver()
    for one in builder.passed_over.values():
        whole.include(one)
    return whole


def _remedies(passed_over: PassedOver) -> str:
    """Return how files could be read that have been passed over, for the end of a sentence."""
    commands: dict[str, list[str]] = {}
    for suffix, command in formats.FORMATS.remedies().items():
        if suffix in passed_over.kinds:
            commands.setdefault(command, []).append(suffix)
    return "".join(f"; to read {', '.join(some)}: {one}" for one, some in commands.items())


def _find(pattern: str, builder: FileTableBuilder, sources: Iterator[int]) -> None:
    """Add the sample files under one pattern."""
    path = Path(pattern)
    if not pattern:
        raise DataError("--data is empty; give a file, a folder or a glob")
    if pattern.startswith(LIST_MARK):
        add_listed(pattern, builder, sources)
    elif path.is_dir():
        add_folder(path, builder, next(sources))
    elif path.is_file():
        if format_number(path.name) is None:
            raise DataError(
                f"--data {pattern}: not a type that can be read; use {described_formats()}"
            )
        _add_file(path, NAMED, builder, sources)
    elif glob.has_magic(pattern) and _add_matches(pattern, builder, sources):
        pass
    elif has_braces(pattern):
        for expanded in expand_braces(pattern):
            _find(expanded, builder, sources)
    elif not glob.has_magic(pattern):
        raise DataError(f"no such data: {pattern}{download_advice(pattern)}")


def _add_file(path: Path, marks: int, builder: FileTableBuilder, sources: Iterator[int]) -> None:
    links = (path.name,) if path.is_symlink() else ()
    builder.add(folder_text(path.parent), [path.name], links, marks, next(sources))


def _add_matches(pattern: str, builder: FileTableBuilder, sources: Iterator[int]) -> bool:
    """Add the files that a glob matches; return whether it matches anything."""
    # `*.txt` names text files by themselves, and `*` does not.
    are_named = formats.FORMATS.by_suffix.get(Path(pattern).suffix) in formats.FORMATS.must_be_named
    unwanted = {None, *formats.FORMATS.passed_over()}
    if are_named:
        unwanted -= formats.FORMATS.must_be_named
    loose: dict[str, set[str]] = {}
    others: dict[str, PassedOver] = {}
    matched = False
    for match in glob.iglob(pattern, recursive=True):  # noqa: PTH207 - Path.glob takes no absolute pattern
        matched = True
        if os.path.isdir(match):  # noqa: PTH112 - a million Paths would take their time
            add_folder(Path(match), builder, next(sources))
            continue
        folder, name = os.path.split(match)
        if format_number(name) in unwanted:
            others.setdefault(folder, PassedOver()).add(name)
            continue
        if os.path.isfile(match):  # noqa: PTH113
            loose.setdefault(folder, set()).add(name)
    for folder, passed_over in others.items():
        builder.passed_over.setdefault(os.path.realpath(folder), passed_over)
    for folder in sorted(loose):
        names = sorted(loose.pop(folder))
        links = [name for name in names if os.path.islink(joined(folder, name))]  # noqa: PTH114
        builder.add(folder_text(Path(folder)), names, links, 0, next(sources))
    return matched


def _without(files: FileTable, outputs: set[str]) -> FileTable:
    """Leave out the outputs and their shards, unless a file was named by itself."""
    folders = {os.path.dirname(output) for output in outputs}  # noqa: PTH120 - strings
    near = _in_folders(files, folders) | files.marked(LINK)
    keep = np.ones(len(files), bool)
    for index in np.flatnonzero(near & ~files.marked(NAMED)).tolist():
        real = files.real(index)
        keep[index] = real not in outputs and _whole(real) not in outputs
    return files if keep.all() else files.take(np.flatnonzero(keep))


def _each_once(files: FileTable, doubtful: set[str]) -> FileTable:
    """Keep the first of the paths that lead to one file."""
    linked = {index: files.real(index) for index in np.flatnonzero(files.marked(LINK)).tolist()}
    targets = set(linked.values())
    suspect = _in_folders(files, doubtful)
    keep = np.ones(len(files), bool)
    seen: set[str] = set()
    for index in range(len(files)) if targets else np.flatnonzero(suspect).tolist():
        real = linked.get(index) or files.real(index)
        if suspect[index] or real in targets:
            keep[index] = real not in seen
            seen.add(real)
    return files if keep.all() else files.take(np.flatnonzero(keep))


def _in_folders(files: FileTable, reals: Container[str]) -> NDArray[np.bool_]:
    """Return whether each file lies in one of some folders, by real path, (n,) bool."""
    inside = np.array([real in reals for real in files.reals], bool)
    return inside[files.folder_of]


def _whole(path: str) -> str:
    """Return the file that a shard is a part of; the path itself if it is no shard."""
    return re.sub(r"-\d{5}-of-\d{5}(?=\.\w+$)", "", path)
