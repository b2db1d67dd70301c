"""The seam of formats of weights: how a file of named tensors is written, and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.weights.checkpoint import Checkpoint


class WeightsWriter(Protocol):
    """An open file of weights, filled tensor by tensor in any order.

    The engine writes a weight when it is final, and reads it from here from then on, so that not
    all weights need be in memory.
    """

    def put(self, name: str, value: FloatArray) -> None:
        """Write a tensor, in place of what was written before under its name.

        Args:
            name: one of the names the file was created with.
            value: of the shape and dtype given there.

        Raises:
            OSError: it can't be written.
        """

    def read(self, name: str) -> FloatArray:
        """Read back a tensor that was written."""

    def set_metadata(self, metadata: Mapping[str, str]) -> None:
        """Replace the texts the file was created with by others of the same total length.

        A format without a place for them ignores both.
        """

    def finish(self) -> None:
        """Complete the file, which the caller closes.

        Raises:
            OSError: it can't be written.
        """


CreateWriter = Callable[
    [BinaryIO, Path, Mapping[str, TensorInfo], Mapping[str, str]],
    WeightsWriter,
]


@dataclass(frozen=True, slots=True)
class WeightsFormat:
    r"""A file format of named tensors; `formats.FORMATS` lists those that are known.

    A new one is a file like this example and a line in that table. NumPy's archives hold the
    arrays of a model, here collected until the file is complete:

    >>> import numpy as np
    >>> from lsuv_cli.core.layout import TensorInfo
    >>> from lsuv_cli.weights.checkpoint import Checkpoint
    >>> from lsuv_cli.weights.weights_format import WeightsFormat
    >>> class NpzWriter:
    ...     def __init__(self, file, path, tensors, metadata):
    ...         self._file = file
    ...         self._values = {}
    ...
    ...     def put(self, name, value):
    ...         self._values[name] = np.array(value)
    ...
    ...     def read(self, name):
    ...         return self._values[name]
    ...
    ...     def set_metadata(self, metadata):
    ...         pass
    ...
    ...     def finish(self):
    ...         np.savez(self._file, **self._values)
    >>> def open_npz(path, called):
    ...     values = dict(np.load(path))
    ...     infos = {name: TensorInfo(value.shape, value.dtype) for name, value in values.items()}
    ...     return Checkpoint((path,), infos, values.__getitem__)
    >>> NPZ = WeightsFormat(
    ...     "NumPy archive",
    ...     (".npz",),
    ...     claims=lambda path: path.suffix == ".npz",
    ...     open=open_npz,
    ...     create=NpzWriter,
    ... )

    With `NPZ` in the table, `lsuv init --out weights.npz` writes such a file. Written by hand:

    >>> from io import BytesIO
    >>> from pathlib import Path
    >>> file = BytesIO()
    >>> bias = np.ones(2, np.float32)
    >>> writer = NPZ.create(file, Path("weights.npz"), {"bias": TensorInfo((2,), bias.dtype)}, {})
    >>> writer.put("bias", bias)
    >>> writer.finish()
    >>> print(np.load(BytesIO(file.getvalue()))["bias"])
    [1. 1.]

    Attributes:
        name: what it is called in messages.
        suffixes: in lower case, the suffixes of `--out` that choose it.
        claims: returns by a file's suffix or its first bytes whether it is of this format.
        open: opens such a file, given what to call it in errors; raises a DataError if it is
            broken.
        create: begins a file, given it open for writing and empty, its path while it is being
            written, the shape and dtype of each tensor, and texts about the run; None for a format
            that is only read.
    """

    name: str
    suffixes: tuple[str, ...]
    claims: Callable[[Path], bool]
    open: Callable[[Path, str], Checkpoint]
    create: CreateWriter | None = None
