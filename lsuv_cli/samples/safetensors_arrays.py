"""The format .safetensors: arrays by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lsuv_cli.samples.lazy_arrays import LazyArrays


def open_safetensors(path: Path) -> LazyArrays:
    """Open the arrays in a .safetensors file.

    Raises:
        OSError: the file can't be read.
        ValueError: it is damaged, or, when an array is read, numpy lacks its type.
    """

    def read(name: str) -> NDArray[Any]:
        with _tensors(path) as tensors:
            array: NDArray[Any] = tensors.get_tensor(name)
            return array

    with _tensors(path) as tensors:
        return LazyArrays([*tensors.keys()], read)


@contextmanager
def _tensors(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as tensors:
            yield tensors
    except (SafetensorError, AttributeError) as error:  # the latter for types that numpy lacks
        raise ValueError(str(error)) from None
