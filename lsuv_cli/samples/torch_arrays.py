"""The formats .pt and .pth: a tensor by `torch.save`, or tensors by name. No code is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lsuv_cli.graph.pickled import load_tensors
from lsuv_cli.graph.torch_arrays import as_numpy
from lsuv_cli.samples.lazy_arrays import LazyArrays

SAVE_CALL = "torch.save(tensor, ...) or torch.save({input name: tensor}, ...)"


def open_torch(path: Path) -> Mapping[str, NDArray[Any]]:
    """Open the tensors in a file by `torch.save`; a single one has no name, so it is called "".

    Raises:
        OSError: the file can't be read.
        ValueError: it is damaged, or holds something other than tensors.
    """
    import torch

    content = load_tensors(path, SAVE_CALL)
    named = content if isinstance(content, Mapping) else {"": content}
    for name, value in named.items():
        if not isinstance(value, torch.Tensor):
            what = f"{name or 'it'} is a {type(value).__name__}, not a tensor"
            raise ValueError(f"{what}; save by {SAVE_CALL}")  # noqa: TRY004 - the file is wrong

    def read(name: str) -> NDArray[Any]:
        tensor = named[name]
        try:
            return as_numpy(tensor)
        except (TypeError, RuntimeError):
            kind = "sparse" if tensor.layout is not torch.strided else str(tensor.dtype)
            raise ValueError(
                f"{name or 'the tensor'} is {kind}, which can't be read as numbers; save it as a "
                "dense float32 tensor"
            ) from None

    return LazyArrays([str(name) for name in named], read)
