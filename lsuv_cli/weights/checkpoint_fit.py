"""A checkpoint beside the tensors of a model: those that it has, lacks, or has in other shapes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsuv_cli.core.events import Events
from lsuv_cli.graph.written_tensors import Naming, WrittenTensor
from lsuv_cli.names.exporter import some_of
from lsuv_cli.weights.checkpoint import Checkpoint
from lsuv_cli.weights.checkpoint_names import tied_name, unwrapped
from lsuv_cli.weights.checkpoint_shapes import shape_differences, shapes_of
from lsuv_cli.weights.like import tied_to


@dataclass(frozen=True, slots=True)
class ExpectedNames:
    """The names that a checkpoint may have.

    Attributes:
        naming: the tensors of the model.
        absent: names of tensors that it may have in addition, which the network does not read.
        doubtful: names of tensors of the model that it may lack.
    """

    naming: Naming
    absent: Collection[str] = ()
    doubtful: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class CheckpointFit:
    """A checkpoint beside the names that it may have.

    Attributes:
        checkpoint: the checkpoint, without a prefix of its names.
        naming: the tensors of the model that it has.
        prefix: what was removed from its names.
        kept: the tensors of the model that it lacks and need not have.
        misfits: what keeps it from holding the model's tensors; "" where nothing does.
    """

    checkpoint: Checkpoint
    naming: Naming
    prefix: str
    kept: Sequence[str]
    misfits: str


def fit_checkpoint(checkpoint: Checkpoint, names: ExpectedNames) -> CheckpointFit:
    """Compare a checkpoint with the names that it may have.

    It may have a tied tensor under all of its names or under one of them, and the prefixes of
    wrapped modules.
    """
    checkpoint, prefix = unwrapped(checkpoint, names.naming)
    given = set(checkpoint) - set(names.absent)
    known = given & names.naming.keys()
    given -= {name for name in given - known if tied_name(checkpoint, name, sorted(known))}
    tied = tied_to(names.naming, known)
    kept: list[str] = []
    naming: dict[str, WrittenTensor] = {}
    for name, tensor in names.naming.items():
        if name in checkpoint:
            naming[name] = tensor
        elif name in names.doubtful:
            kept.append(name)
        elif tensor.parameter and name not in tied:
            naming[name] = tensor
    return CheckpointFit(checkpoint, naming, prefix, kept, _misfits(checkpoint, given, naming))


def tell_passed_over(path: Path, prefix: str, kept: Sequence[str], events: Events) -> None:
    """Tell what was passed over where a checkpoint fits.

    Args:
        path: the checkpoint's file.
        prefix: what was removed from its names.
        kept: the tensors of the model that it lacks and need not have.
        events: receives the notes.
    """
    if prefix:
        events.note(f"the names in {path} begin with {prefix}, which is passed over")
    if kept:
        events.note(f"{path} lacks buffers, which stay as in the model: {some_of(kept)}")


def _misfits(checkpoint: Checkpoint, given: Collection[str], naming: Naming) -> str:
    """Say what keeps a checkpoint from holding a naming's tensors; "" where nothing does."""
    shapes = shapes_of(checkpoint)
    found = shape_differences(
        {name: shape for name, shape in shapes.items() if name in given},
        {name: tensor.info.shape for name, tensor in naming.items()},
    )
    strange = [
        f"{name} is {checkpoint.kinds.get(name) or checkpoint.infos[name].dtype}"
        for name, tensor in naming.items()
        if name in checkpoint and not _can_be(checkpoint.infos[name].dtype, tensor)
    ]
    numbers = f"not dense floating-point tensors: {', '.join(strange)}" if strange else ""
    return "; ".join(filter(None, (found, numbers)))


def _can_be(dtype: np.dtype[Any], tensor: WrittenTensor) -> bool:
    return not tensor.parameter or dtype.name.startswith(("float", "bfloat"))
