"""Finding the sample files."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lsuv_cli.core.errors import DataError

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
ARRAY_SUFFIXES = frozenset((".npy", ".npz", ".safetensors"))
# Token ids; in a folder such files are more likely notes or labels, so they must be named.
TOKEN_SUFFIXES = frozenset((".jsonl", ".txt"))


def find_files(patterns: Sequence[str], leave_out: Iterable[Path] = ()) -> list[Path]:
    """The sample files under files, folders and globs: each once, sorted by path.

    Folders are searched with their subfolders, links followed; hidden files and files of other
    types are passed over. A file named by itself must be of a known type.

    Args:
        patterns: what was given as --data.
        leave_out: files that are no samples, wherever they lie: outputs of an earlier run,
            and their shards.

    Raises:
        DataError: nothing is there, or a named file is of another type.
    """
    outputs = {path.resolve() for path in leave_out}
    once: dict[Path, Path] = {}
    for path, named in sorted(found for pattern in patterns for found in _find(pattern)):
        real = path.resolve()
        if named or not outputs & {real, _whole(real)}:
            # The same file by two paths counts once, under the first of them.
            once.setdefault(real, path)
    if not once:
        raise DataError(f"no sample files in {', '.join(patterns)}; there must be {_types()}")
    return list(once.values())


def _whole(path: Path) -> Path:
    """The file that a shard is a part of; the path itself where it is none."""
    return path.with_name(re.sub(r"-\d{5}-of-\d{5}(?=\.\w+$)", "", path.name))


def _find(pattern: str) -> Iterator[tuple[Path, bool]]:
    """The sample files under one pattern, and whether each was named by itself."""
    path = Path(pattern)
    if not pattern:
        raise DataError("--data is empty; give a file, a folder or a glob")
    if path.is_dir():
        yield from ((found, False) for found in _walk(path))
    elif path.is_file():
        if not _is_sample(path) and path.suffix.lower() not in TOKEN_SUFFIXES:
            raise DataError(f"--data {pattern}: not a type that can be read; use {_types()}")
        yield path, True
    elif glob.has_magic(pattern):
        for match in map(Path, glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - Path.glob takes no absolute pattern
            if match.is_dir():
                yield from ((found, False) for found in _walk(match))
            elif match.is_file() and (_is_sample(match) or path.suffix in TOKEN_SUFFIXES):
                yield match, False
    else:
        raise DataError(f"no such data: {pattern}")


def _walk(folder: Path) -> Iterator[Path]:
    visited: set[str] = set()
    for root, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and _is_sample(path) and path.is_file():
                yield path


def _is_sample(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES | ARRAY_SUFFIXES


def _types() -> str:
    return (
        f"{_listed(IMAGE_SUFFIXES)} pictures, {_listed(ARRAY_SUFFIXES)} arrays or, named by "
        f"themselves, {_listed(TOKEN_SUFFIXES)} token ids"
    )


def _listed(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(suffixes))
