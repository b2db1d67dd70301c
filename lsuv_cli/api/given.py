"""Models and samples as a caller gives them, turned into what the jobs take."""

from __future__ import annotations

import io
import itertools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.jobs.opening import OpenModel, open_named
from lsuv_cli.reading.model_format import ModelFile
from lsuv_cli.samples.memory import find_in_memory, is_array
from lsuv_cli.samples.open_samples import FindSamples, open_samples

if TYPE_CHECKING:
    import torch

BYTES_NAME = Path("<bytes>")
NO_SAMPLES = "<no samples>"

# Samples of a data set that are put together at a time.
COLLATED = 32
# A few samples tell how a module is called on an array of them.
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Given:
    """A model and samples.

    Attributes:
        path: the model's file, or what it is called.
        content: the model file's bytes; None to read the file, or for a model in memory.
        data: files, folders and globs of samples; none where the samples are in memory.
        find: finds the samples.
        open_model: opens the model.
    """

    path: Path
    content: bytes | None
    data: tuple[str, ...]
    find: FindSamples
    open_model: OpenModel

    @property
    def model(self) -> dict[str, Any]:
        """The fields of the options that name the model."""
        return {"model": self.path, "content": self.content}


def take(model: Any, samples: Any, count: int | None, seed: int) -> Given:
    """Turn a model and samples into what the jobs take.

    Args:
        model: a module, a program, the path of a model file, or its bytes.
        samples: see `calls.initialize`; `NO_SAMPLES` for none.
        count: how many samples are used at most; None for all.
        seed: picks samples of a data set.

    Raises:
        LsuvError: the model or the samples are of no kind that can be used.
    """
    is_path = isinstance(samples, (str, os.PathLike))
    data = (os.fspath(samples),) if is_path else ()
    if not is_path:
        samples = _batches_of(samples, count, seed)
    open_model: OpenModel = open_named
    content = None
    if isinstance(model, bytes):
        path, content = BYTES_NAME, model
    elif isinstance(model, (str, os.PathLike)):
        path = Path(model)
    elif _is_of_torch(model, "jit.ScriptModule"):
        path, content = Path(type(model).__name__), _script_bytes(model)
    elif _is_of_torch(model, "export.ExportedProgram"):
        file = _program_file(model)
        path, open_model = file.path, _opener(file)
    elif _is_of_torch(model, "nn.Module"):
        return _take_module(model, samples, data, is_path=is_path)
    else:
        raise UsageError(
            f"model: a value of the type {type(model).__name__} is neither a PyTorch module nor a "
            "path nor bytes"
        )
    find = open_samples if is_path else find_in_memory(samples)
    return Given(path, content, data, find, open_model)


def _take_module(
    module: torch.nn.Module, samples: Any, data: tuple[str, ...], *, is_path: bool
) -> Given:
    from lsuv_cli.reading.torch_module import ModuleFile

    file = ModuleFile(module)
    if is_path:
        return Given(file.path, None, data, open_samples, _opener(file))
    if isinstance(samples, Mapping) or is_array(samples):
        call = file.bind(_first_samples(samples))
        find = find_in_memory(call.inputs(samples))
    else:
        batches = iter(samples)
        first = next(batches, None)
        if first is None:
            raise DataError("there are no samples: the iterable gave no batch")
        call = file.bind(first)
        find = find_in_memory(map(call.inputs, itertools.chain((first,), batches)))
    return Given(file.path, None, (), find, _opener(file))


def _opener(file: ModelFile) -> OpenModel:
    def open_model(_options: WorkOptions) -> ModelFile:
        return file

    return open_model


def _program_file(program: torch.export.ExportedProgram) -> ModelFile:
    from lsuv_cli.reading.pt2 import ProgramFile

    return ProgramFile(Path("ExportedProgram"), program)


def _script_bytes(module: torch.jit.ScriptModule) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    return buffer.getvalue()


def _is_of_torch(value: object, kind: str) -> bool:
    """Return whether a value is of one of PyTorch's classes; a path never imports PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, attrgetter(kind)(torch))


def _batches_of(samples: Any, count: int | None, seed: int) -> Any:
    """Return samples as they are, and those of a data set as batches."""
    if _is_of_torch(samples, "utils.data.IterableDataset"):
        from torch.utils.data import DataLoader

        return DataLoader(samples, batch_size=COLLATED)
    is_mapping = isinstance(samples, (Mapping, list, tuple)) or is_array(samples)
    if is_mapping or not (hasattr(samples, "__getitem__") and hasattr(samples, "__len__")):
        return samples
    import torch
    from torch.utils.data import DataLoader, Subset

    total = len(samples)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    chosen = sorted(order[: total if count is None else count].tolist())
    return DataLoader(Subset(samples, chosen), batch_size=COLLATED)


def _first_samples(samples: Any) -> Any:
    """Return the first samples of an array, or of the arrays in a mapping."""
    if isinstance(samples, Mapping):
        return {key: _first_samples(value) for key, value in samples.items()}
    return samples[:SHOWN] if is_array(samples) and len(samples.shape) else samples


def own_state(model: Any) -> Mapping[str, Any] | None:
    """Return the state_dict of a module or program, which shares its memory; None for others."""
    if _is_of_torch(model, "export.ExportedProgram"):
        state: Mapping[str, Any] = model.state_dict
        return state
    return model.state_dict() if _is_of_torch(model, "nn.Module") else None
