"""Formats of model files: the one table, and the seam between a file and an ONNX graph.

A new format is one file here, with a class that follows `ModelFile` and a `ModelFormat` that opens
it, and one line in `FORMATS`.
"""

from __future__ import annotations

from pathlib import Path

from lsuv_cli.reading.model_format import ModelFile, ModelFormat
from lsuv_cli.reading.onnx_file import ONNX
from lsuv_cli.reading.pt2 import PT2
from lsuv_cli.reading.torchscript import TORCHSCRIPT

# In the order in which they are asked; ONNX has no signature and takes what nobody else claims.
FORMATS: tuple[ModelFormat, ...] = (
    PT2,
    TORCHSCRIPT,
    ONNX,
)


def format_of(path: Path, content: bytes | None = None) -> ModelFormat:
    """Return the first format that claims a file.

    Args:
        path: the file; it need not exist.
        content: its bytes, if they have been read already.
    """
    return next(one for one in FORMATS if one.claims(path, content))


def open_model_file(path: Path, content: bytes | None = None) -> ModelFile:
    """Open a model file of any format.

    Args:
        path: the file.
        content: its bytes, if they have been read already.

    Raises:
        ModelError: there is no such file, or it is broken or of another kind.
    """
    return format_of(path, content).open(path, content)
