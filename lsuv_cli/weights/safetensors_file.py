"""Safetensors files, written as a stream.

The format (safetensors 0.8): eight bytes with the header's length, little-endian; the header, JSON
padded with spaces to a multiple of eight; then the tensors, row-major and little-endian, without
gaps. Tensors are ordered by falling alignment, then by name, as the reference writer does. That
writer needs all tensors at once, and orders the metadata by a randomised hash; this one holds one
tensor at a time and sorts the metadata, so that the same content gives the same bytes.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lsuv_cli.core.errors import OutputError
from lsuv_cli.core.layout import FloatArray, TensorInfo

# safetensors' names, in the reference writer's order (the falling order of its dtype enumeration).
DTYPES = {
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
ORDER = {name: rank for rank, name in enumerate(DTYPES)}
ALIGNMENT_BYTES = 8


def write_safetensors(
    file: BinaryIO,
    tensors: Mapping[str, TensorInfo],
    metadata: Mapping[str, str],
    read: Callable[[str], FloatArray],
) -> None:
    """Write a safetensors file, one tensor at a time.

    Args:
        file: open for writing.
        tensors: name, shape and dtype of each tensor.
        metadata: texts for the header.
        read: gives a tensor's value; called once for each, in the file's order.

    Raises:
        OSError: the file can't be written.
    """
    names = sorted(tensors, key=lambda name: (ORDER[tensors[name].dtype.name], name.encode()))
    header: dict[str, object] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    offset = 0
    for name in names:
        info = tensors[name]
        header[name] = {
            "dtype": DTYPES[info.dtype.name],
            "shape": list(info.shape),
            "data_offsets": [offset, offset + info.nbytes],
        }
        offset += info.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT_BYTES)
    file.write(struct.pack("<Q", len(text)))
    file.write(text)
    for name in names:
        value = np.require(read(name), requirements="C")
        if value.shape != tensors[name].shape or value.dtype != tensors[name].dtype:
            raise AssertionError(f"{name} is not what the header says")
        file.write(value.reshape(-1).view(np.uint8).data)


def read_safetensors(path: Path) -> dict[str, FloatArray]:
    """Read every tensor, as anyone else would: with the safetensors library."""
    from safetensors.numpy import load_file

    return load_file(path)


@contextmanager
def replacing_file(target: Path, *, force: bool) -> Iterator[tuple[BinaryIO, Path]]:
    """Write beside a target and rename at the end, so that it is whole or not there.

    Gives the open file and its temporary path. On any exception nothing is left behind and an
    existing target is as it was.

    Args:
        target: the path to write.
        force: replace an existing target.

    Raises:
        OutputError: the target exists (without `force`), or can't be written.
    """
    real = target.resolve()  # through a link, what it leads to is written
    try:
        descriptor, name = tempfile.mkstemp(prefix=".lsuv-", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise OutputError(f"can't write in {target.parent}: {error.strerror}") from None
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _apply_umask(descriptor)
            yield file, temporary
        if force:
            temporary.replace(real)
        else:
            _rename_to_new(temporary, real)
    except FileExistsError:
        raise OutputError(existing_output(target)) from None
    except OSError as error:
        raise OutputError(f"can't write {target}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def existing_output(target: Path) -> str:
    """What to say of an output that is already there."""
    return f"the output {target} exists already; give --force to replace it"


def refuse_overwriting(target: Path, role: str, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the files that are read.

    Args:
        target: the path to write.
        role: what the inputs are, for the error's text.
        inputs: files that must not be overwritten.

    Raises:
        OutputError: the output is one of them.
    """
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise OutputError(f"the output {target} is {role} itself; choose another")


def check_output(target: Path, *, force: bool) -> None:
    """Refuse an output that can't be written, before any work is done.

    Args:
        target: the path to write.
        force: whether an existing file may be replaced.

    Raises:
        OutputError: and why.
    """
    if target.is_dir():
        raise OutputError(f"the output {target} is a folder; give a file name in it")
    if not target.parent.is_dir():
        raise OutputError(f"the output's folder {target.parent} does not exist; make it first")
    if target.exists():
        if not stat.S_ISREG(target.stat().st_mode):
            raise OutputError(f"the output {target} is not a regular file")
        if not force:
            raise OutputError(existing_output(target))
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"can't write in {target.parent}: no permission")


def _rename_to_new(temporary: Path, target: Path) -> None:
    """Rename, but fail where another process has made the target meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if target.exists():
            raise FileExistsError(target) from None
        temporary.replace(target)


def _apply_umask(descriptor: int) -> None:
    """Give a temporary file, made private, the permissions of an ordinary new one."""
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(descriptor, 0o666 & ~umask)
