"""Safetensors files, written tensor by tensor and read one tensor at a time.

The format (safetensors 0.8): eight bytes with the header's length, little-endian; the header, JSON
padded with spaces to a multiple of eight; then the tensors, row-major and little-endian, without
gaps. Tensors are ordered by falling alignment, then by name, as the reference writer does. That
writer needs all tensors at once, and orders the metadata by a randomised hash; this one takes one
tensor at a time, in any order, and sorts the metadata, so that the same content gives the same
bytes.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lsuv_cli.core.errors import DataError
from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.weights.checkpoint import Checkpoint
from lsuv_cli.weights.weights_format import WeightsFormat

# safetensors' names, in the reference writer's order (the falling order of its dtype enumeration).
DTYPE_NAMES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "bfloat16": "BF16",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
DTYPE_ORDER = {name: rank for rank, name in enumerate(DTYPE_NAMES)}
_NUMPY_NAMES = {short: name for name, short in DTYPE_NAMES.items()}
HEADER_ALIGNMENT_BYTES = 8


class SafetensorsWriter:
    """An open safetensors file, to be filled tensor by tensor.

    Raises:
        OSError: the file can't be written.
    """

    def __init__(
        self,
        file: BinaryIO,
        path: Path,
        tensors: Mapping[str, TensorInfo],
        metadata: Mapping[str, str],
    ) -> None:
        """Write the header.

        Args:
            file: open for writing, and empty.
            path: its path, under which it is read back.
            tensors: shape and dtype of each tensor.
            metadata: texts for the header; `set_metadata` may change them later.
        """
        self._file = file
        self._path = path
        self._tensors = tensors
        self._offsets: dict[str, int] = {}
        offset = 0
        for name in sorted(tensors, key=lambda n: (DTYPE_ORDER[tensors[n].dtype.name], n.encode())):
            self._offsets[name] = offset
            offset += tensors[name].nbytes
        header = self._header(metadata)
        self._start = len(header)
        file.write(header)
        # Its whole length at once, so that a file without the last tensors is not a shorter one.
        file.truncate(self._start + offset)

    def _header(self, metadata: Mapping[str, str]) -> bytes:
        header: dict[str, object] = {}
        if metadata:
            header["__metadata__"] = dict(sorted(metadata.items()))
        for name, offset in self._offsets.items():
            info = self._tensors[name]
            header[name] = {
                "dtype": DTYPE_NAMES[info.dtype.name],
                "shape": list(info.shape),
                "data_offsets": [offset, offset + info.nbytes],
            }
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % HEADER_ALIGNMENT_BYTES)
        return struct.pack("<Q", len(text)) + text

    def put(self, name: str, value: FloatArray) -> None:
        """Write a tensor, in place of what was written before.

        Args:
            name: one of the file's tensors.
            value: of its shape and dtype.
        """
        value = np.require(value, requirements="C")
        if value.shape != self._tensors[name].shape or value.dtype != self._tensors[name].dtype:
            raise AssertionError(f"{name} is not what the header says")
        self._file.seek(self._start + self._offsets[name])
        self._file.write(value.reshape(-1).view(np.uint8).data)

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Replace the header's texts with others of the same total length."""
        header = self._header(metadata)
        if len(header) != self._start:
            raise AssertionError("the header would move the tensors")
        self._file.seek(0)
        self._file.write(header)

    def read(self, name: str) -> FloatArray:
        """Read back a tensor that was written."""
        self._file.flush()
        return _read_tensor(self._path, name)

    def finish(self) -> None:
        """Write what is still buffered."""
        self._file.flush()


def _read_tensor(path: Path, name: str) -> FloatArray:
    """Read one tensor, as anyone else would: with the safetensors library."""
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        tensor: FloatArray = file.get_tensor(name)
        return tensor


def _is_safetensors(path: Path) -> bool:
    """Return whether a file is one, by its suffix or its first bytes: a length, then JSON."""
    if path.suffix == ".safetensors":
        return True
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(9)
        return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    return False


def _open(path: Path, called: str) -> Checkpoint:
    """Open a file for reading.

    Args:
        path: the file.
        called: what to call it in errors.

    Raises:
        DataError: it is not safetensors, or not whole.
    """
    from safetensors import SafetensorError, safe_open

    infos: dict[str, TensorInfo] = {}
    kinds: dict[str, str] = {}
    try:
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                part = file.get_slice(name)
                kind = part.get_dtype()
                infos[name] = TensorInfo(tuple(part.get_shape()), _dtype(kind))
                if infos[name].dtype.type is np.void:
                    kinds[name] = kind
            # safetensors' save_model leaves out all but one name of a tied tensor, and notes it.
            texts = file.metadata() or {}
        ties = {name: kept for name, kept in texts.items() if kept in infos and name not in infos}
        infos |= {name: infos[kept] for name, kept in ties.items()}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{called}: not a whole safetensors file: {error}") from None

    def read(name: str) -> FloatArray:
        try:
            return _read_tensor(path, ties.get(name, name))
        except (SafetensorError, OSError) as error:
            raise DataError(f"{called}: {name} can't be read any more: {error}") from None

    kinds |= {name: kinds[kept] for name, kept in ties.items() if kept in kinds}
    return Checkpoint((path,), infos, read, ties, kinds=kinds, texts=texts)


def _dtype(name: str) -> np.dtype[Any]:
    if name == "BF16":
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return dtype
    return np.dtype(_NUMPY_NAMES.get(name, np.void))


SAFETENSORS = WeightsFormat(
    "safetensors", (".safetensors",), _is_safetensors, _open, SafetensorsWriter
)
