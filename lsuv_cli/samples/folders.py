"""The search of a folder for sample files."""

from __future__ import annotations

import os
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from lsuv_cli.samples import formats
from lsuv_cli.samples.file_table import joined
from lsuv_cli.samples.file_table_builder import FileTableBuilder
from lsuv_cli.samples.formats import format_number
from lsuv_cli.samples.passed_over import PassedOver


@dataclass(frozen=True, slots=True)
class _Listing:
    """The sample files of a folder, sorted, the links among them, and the subfolders, sorted."""

    names: list[str]
    links: frozenset[str]
    subfolders: list[str]


@dataclass(frozen=True, slots=True)
class _Run:
    """Files of a folder between two of its subfolders, by their order."""

    folder: str
    listing: _Listing
    start: int
    stop: int


def add_folder(folder: Path, builder: FileTableBuilder, source: int) -> None:
    """Add the sample files in a folder and its subfolders, in the order of their paths.

    Links are followed, but each folder is entered once; hidden files and folders, token ids and
    files of other types are passed over, as are folders that can't be read.

    Args:
        folder: where to search.
        builder: takes the files.
        source: this search's number.
    """
    visited: set[str] = set()
    pending: list[_Run | str] = [folder_text(folder)]
    while pending:
        todo = pending.pop()
        if isinstance(todo, _Run):
            names = todo.listing.names
            if todo.stop - todo.start < len(names):
                names = names[todo.start : todo.stop]
            builder.add(todo.folder, names, todo.listing.links, 0, source)
            continue
        real = os.path.realpath(todo)
        if real not in visited:
            visited.add(real)
            builder.passed_over[real] = passed_over = PassedOver()
            pending += reversed(_in_order(todo, _list(todo, passed_over)))


def folder_text(folder: Path) -> str:
    """Return a folder as it is written in its files' paths: "" for the current one."""
    return "" if folder == Path() else str(folder)


def _in_order(folder: str, listing: _Listing) -> list[_Run | str]:
    """Return runs of a folder's files and its subfolders' paths, in sorted order."""
    work: list[_Run | str] = []
    start = 0
    for subfolder in listing.subfolders:
        stop = bisect_left(listing.names, subfolder, start)
        if stop > start:
            work.append(_Run(folder, listing, start, stop))
        work.append(joined(folder, subfolder))
        start = stop
    work.append(_Run(folder, listing, start, len(listing.names)))
    return work


def _list(folder: str, passed_over: PassedOver) -> _Listing:
    names: list[str] = []
    links: set[str] = set()
    subfolders: list[str] = []
    unwanted = {None, *formats.FORMATS.passed_over()}
    try:
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if _is_dir(entry):
                    subfolders.append(name)
                elif format_number(name) in unwanted:
                    passed_over.add(name)
                elif _is_file(entry):
                    names.append(name)
                    if entry.is_symlink():
                        links.add(name)
    except OSError:
        pass
    names.sort()
    subfolders.sort()
    return _Listing(names, frozenset(links), subfolders)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
