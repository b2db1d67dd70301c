"""Files of weights, by this tool or any other: names, shapes and dtypes first, values late."""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsuv_cli.core.errors import DataError
from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.torch_arrays import as_numpy
from lsuv_cli.weights.pickled import refusal, whole_object
from lsuv_cli.weights.safetensors_file import DTYPES, read_tensor

if TYPE_CHECKING:
    import torch

INDEX_SUFFIX = ".safetensors.index.json"

# Under these keys training scripts keep the weights beside other things.
NESTED_KEYS = ("state_dict", "model_state_dict", "model")

_NUMPY_NAMES = {short: name for name, short in DTYPES.items()}


class TensorFile(Mapping[str, FloatArray]):
    """The tensors of a file of weights by name, each read when it is asked for.

    Attributes:
        files: those that were opened: one, or shards and last their index.
        infos: shape and dtype of each tensor; a dtype that numpy lacks is a void one of some size.
    """

    def __init__(
        self,
        files: tuple[Path, ...],
        infos: Mapping[str, TensorInfo],
        read: Callable[[str], FloatArray],
    ) -> None:
        self.files = files
        self.infos = infos
        self._read = read

    @property
    def path(self) -> Path:
        """The file, or the index of its shards."""
        return self.files[-1]

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self.infos:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __len__(self) -> int:
        return len(self.infos)


def open_tensors(path: Path, option: str = "") -> TensorFile:
    """Open a safetensors file, an index of such shards, or a `.pt` of tensors alone.

    A name whose file is not there, but the index of its shards, stands for these. No code in a
    `.pt` is run.

    Args:
        path: the file.
        option: what it was given as, for the texts of errors.

    Raises:
        DataError: there is no such file, or it is no checkpoint.
    """
    called = f"{option} {path}".strip()
    index = path.with_name(f"{path.name}.index.json")
    if not path.exists() and index.is_file():
        path = index
    if not path.is_file():
        raise DataError(f"{called}: there is no such file")
    if path.name.endswith(INDEX_SUFFIX):
        return _open_shards(path, called)
    if path.suffix == ".safetensors" or _is_safetensors(path):
        infos = _safetensors_infos(path, called)
        return TensorFile((path,), infos, lambda name: _read_safetensors(path, name, called))
    return _open_torch(path, called)


def _is_safetensors(path: Path) -> bool:
    """Whether a file of another suffix is one, by its first bytes: a length, then JSON."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(9)
        return head[8:] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size
    return False


def _safetensors_infos(path: Path, called: str) -> dict[str, TensorInfo]:
    from safetensors import SafetensorError, safe_open

    infos = {}
    try:
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                part = file.get_slice(name)
                infos[name] = TensorInfo(tuple(part.get_shape()), _dtype(part.get_dtype()))
    except (SafetensorError, OSError) as error:
        raise DataError(f"{called}: not a whole safetensors file: {error}") from None
    return infos


def _dtype(short: str) -> np.dtype[Any]:
    if short == "BF16":
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return dtype
    return np.dtype(_NUMPY_NAMES.get(short, np.void))


def _read_safetensors(path: Path, name: str, called: str) -> FloatArray:
    from safetensors import SafetensorError

    try:
        return read_tensor(path, name)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{called}: {name} can't be read any more: {error}") from None


def _open_shards(index: Path, called: str) -> TensorFile:
    try:
        files = json.loads(index.read_bytes())["weight_map"]
        places = {str(name): index.with_name(file) for name, file in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{called}: not an index of shards, no weight_map: {error}") from None
    infos: dict[str, TensorInfo] = {}
    shards = sorted(set(places.values()))
    for shard in shards:
        if not shard.is_file():
            raise DataError(f"{called}: the shard {shard.name} is missing; put it beside the index")
        infos |= {
            name: info
            for name, info in _safetensors_infos(shard, str(shard)).items()
            if places.get(name) == shard
        }
    lacking = sorted(places.keys() - infos.keys())
    if lacking:
        raise DataError(f"{called}: no shard holds {lacking[0]}, against what the index says")
    files = (*shards, index)
    return TensorFile(files, infos, lambda name: _read_safetensors(places[name], name, called))


def _open_torch(path: Path, called: str) -> TensorFile:
    import torch

    state = {
        str(name): value
        for name, value in _state_dict(path, called).items()
        if isinstance(value, torch.Tensor)
    }
    infos = {name: TensorInfo(tuple(t.shape), _dtype_of(t)) for name, t in state.items()}
    return TensorFile((path,), infos, lambda name: as_numpy(state[name]))


def _state_dict(path: Path, called: str) -> Mapping[Any, Any]:
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{called}: neither safetensors nor a checkpoint by torch.save, or cut short"
        )
    import pickle

    import torch

    try:
        whole = whole_object(path)
        if whole:
            raise DataError(f"{called} {whole}")
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
    ) as error:
        raise DataError(f"{called}: {refusal(error)}") from None
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
