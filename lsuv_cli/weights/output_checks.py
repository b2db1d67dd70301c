"""Outputs that are refused before any work is done."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from lsuv_cli.core.errors import OutputError, UsageError

# The kind of file that a suffix stands for; this program writes the first four kinds.
KIND_OF_SUFFIX = {
    ".safetensors": "safetensors",
    ".onnx": "ONNX",
    ".pt2": "an exported program",
    ".pt": "PyTorch's",
    ".pth": "PyTorch's",
    ".ts": "PyTorch's",
    ".torchscript": "PyTorch's",
    ".npy": "NumPy's",
    ".npz": "NumPy's",
}


def check_output(target: Path, *, force: bool) -> None:
    """Refuse an output that can't be written, before any work is done.

    Args:
        target: the path to write.
        force: whether an existing file may be replaced.

    Raises:
        OutputError: it can't be written; the text says why.
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


def existing_output(target: Path) -> str:
    """Return the error's text for an output that exists already."""
    return f"the output {target} exists already; give --force to replace it"


def refuse_overwriting(target: Path, role: str, inputs: Iterable[Path]) -> None:
    """Refuse an output that is one of the files that are read.

    Args:
        target: the path to write.
        role: what the inputs are, for messages.
        inputs: files that must not be overwritten.

    Raises:
        OutputError: the output is one of them.
    """
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise OutputError(f"the output {target} is {role} itself; choose another")


def refuse_misleading_name(target: Path, kind: str) -> None:
    """Refuse a name that stands for another kind of file.

    Args:
        target: the path to write.
        kind: what is written: one of the values of `KIND_OF_SUFFIX`.

    Raises:
        UsageError: the suffix stands for another kind.
    """
    said = KIND_OF_SUFFIX.get(target.suffix.lower(), kind)
    if said != kind:
        usual = next(suffix for suffix, one in KIND_OF_SUFFIX.items() if one == kind)
        raise UsageError(
            f"{target}: what is written is {kind}, and {target.suffix} stands for {said}; give a "
            f"name that ends in {usual}"
        )
