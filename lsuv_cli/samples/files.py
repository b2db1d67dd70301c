"""Finding the sample files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lsuv_cli.core.errors import DataError

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
ARRAY_SUFFIXES = frozenset((".npy", ".npz", ".safetensors"))


def find_files(patterns: Sequence[str]) -> list[Path]:
    """The sample files under files, folders and globs: each once, sorted by path.

    Folders are searched with their subfolders, links followed; hidden files and files of other
    types are passed over. A file named by itself must be of a known type.

    Raises:
        DataError: nothing is there, or a named file is of another type.
    """
    found: set[Path] = set()
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found.update(_walk(path))
        elif path.is_file():
            if not _is_sample(path):
                raise DataError(f"--data {pattern}: not a type that can be read; use {_types()}")
            found.add(path)
        elif glob.has_magic(pattern):
            matched = [Path(match) for match in glob.iglob(pattern, recursive=True)]  # noqa: PTH207 - Path.glob takes no absolute pattern
            found.update(match for match in matched if match.is_file() and _is_sample(match))
            for match in matched:
                if match.is_dir():
                    found.update(_walk(match))
        else:
            raise DataError(f"no such data: {pattern}")
    if not found:
        raise DataError(f"no sample files in {', '.join(patterns)}; there must be {_types()}")
    return sorted(found)


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
            if not name.startswith(".") and _is_sample(Path(name)):
                yield Path(root, name)


def _is_sample(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES | ARRAY_SUFFIXES


def _types() -> str:
    return _listed(IMAGE_SUFFIXES) + " pictures or " + _listed(ARRAY_SUFFIXES) + " arrays"


def _listed(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(suffixes))
