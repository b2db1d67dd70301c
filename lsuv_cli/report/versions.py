"""Versions of libraries and hashes of files, on which a result depends beside the options."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

# Distributions of ONNX Runtime, of which one is installed.
RUNTIMES = ("onnxruntime-gpu", "onnxruntime")
LIBRARIES = ("onnx", "numpy")


def versions() -> Iterator[tuple[str, str]]:
    """Yield the names and versions of Python and of the libraries that compute."""
    yield "Python", platform.python_version()
    for name in (*RUNTIMES, *LIBRARIES):
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def file_hashes(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each file's name without its folder, and its SHA-256 in hexadecimal.

    Raises:
        OSError: a file can't be read.
    """
    for path in map(Path, paths):
        with path.open("rb") as file:
            yield path.name, hashlib.file_digest(file, "sha256").hexdigest()
