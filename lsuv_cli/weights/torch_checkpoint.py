"""Checkpoints by `torch.save` of tensors alone. They are only read, and no code in them is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsuv_cli.core.errors import DataError
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.pickled import is_zip_archive, load_tensors
from lsuv_cli.graph.torch_arrays import as_numpy
from lsuv_cli.weights.checkpoint import Checkpoint
from lsuv_cli.weights.weights_format import WeightsFormat

if TYPE_CHECKING:
    import torch

# Under these keys training scripts keep the weights beside other things.
NESTED_KEYS = ("state_dict", "model_state_dict", "model")


def _open(path: Path, called: str) -> Checkpoint:
    """Open a file for reading.

    Args:
        path: the file.
        called: what to call it in errors.

    Raises:
        DataError: it is not a checkpoint of tensors alone.
    """
    import torch

    state = {
        str(name): value
        for name, value in _state_dict(path, called).items()
        if isinstance(value, torch.Tensor)
    }
    infos = {name: TensorInfo(tuple(t.shape), _dtype_of(t)) for name, t in state.items()}
    firsts: dict[object, str] = {}
    ties = {
        name: first
        for name, tensor in state.items()
        if tensor.numel() and (first := firsts.setdefault(_storage(tensor), name)) != name
    }
    kinds = {
        name: _kind(tensor) for name, tensor in state.items() if infos[name].dtype.type is np.void
    }
    return Checkpoint((path,), infos, lambda name: as_numpy(state[name]), ties, kinds=kinds)


def _kind(tensor: torch.Tensor) -> str:
    """Return what keeps a tensor from being read: its device, layout or dtype."""
    import torch

    if tensor.is_meta:
        return "on PyTorch's meta device, without values"
    if tensor.layout is not torch.strided:
        return str(tensor.layout).removeprefix("torch.")
    return str(tensor.dtype).removeprefix("torch.")


def _storage(tensor: torch.Tensor) -> object:
    """Return what is equal for tensors that are the same memory."""
    import torch

    if tensor.layout is not torch.strided or tensor.is_meta:
        return id(tensor)
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tuple(tensor.stride())


def _state_dict(path: Path, called: str) -> Mapping[Any, Any]:
    if not is_zip_archive(path):
        raise DataError(
            f"{called}: neither safetensors nor a checkpoint by torch.save, or cut short"
        )
    try:
        content = load_tensors(path)
    except OSError as error:
        raise DataError(f"{called}: can't be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{called}: {error}") from None
    for key in NESTED_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise DataError(f"{called}: holds no state_dict")
    return content


def _dtype_of(tensor: torch.Tensor) -> np.dtype[Any]:
    try:
        return as_numpy(tensor[:0] if tensor.ndim else tensor).dtype
    except (TypeError, RuntimeError):
        return np.dtype((np.void, tensor.element_size()))


TORCH_CHECKPOINT = WeightsFormat("PyTorch checkpoint", (".pt", ".pth"), lambda _: True, _open)
