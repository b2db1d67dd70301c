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
            try:
                array: NDArray[Any] = tensors.get_tensor(name)
            except (TypeError, AttributeError):  # numpy has no such type
                kind = tensors.get_slice(name).get_dtype()
                raise ValueError(f"{name} holds {kind}, not a type such as float32") from None
            return array

    with _tensors(path) as tensors:
        return LazyArrays([*tensors.keys()], read)


@contextmanager
def _tensors(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as tensors:
            yield tensors
    except SafetensorError as error:
        raise ValueError(str(error)) from None
