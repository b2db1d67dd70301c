"""The format .npz: arrays by name in a zip archive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.samples.lazy_arrays import LazyArrays


def open_npz(path: Path) -> LazyArrays:
    """Open the arrays in a .npz file.

    Raises:
        OSError: the file can't be read.
        ValueError, zipfile.BadZipFile: it is damaged; so may its arrays be when they are read.
    """

    def read(name: str) -> NDArray[Any]:
        with _archive(path) as archive:
            array = archive[name]  # numpy returns the bytes of a member that is no .npy
            if not isinstance(array, np.ndarray):
                raise ValueError(f"its member {name} is no array")  # noqa: TRY004 - the file is wrong
            return array

    with _archive(path) as archive:
        return LazyArrays(archive.files, read)


@contextmanager
def _archive(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        yield archive
