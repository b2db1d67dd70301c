"""The tensors of a written file fitted to the checkpoint that the file is for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.events import Events
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.graph.written_tensors import Naming, Pieces, WrittenTensor
from lsuv_cli.names.exporter import some_of
from lsuv_cli.weights.checkpoint import Checkpoint
from lsuv_cli.weights.checkpoint_names import tied_name

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class FittedNames:
    """The tensors to write for a checkpoint.

    Attributes:
        naming: the tensors.
        others: the values of those that are no parameters of the graph and not zero.
    """

    naming: Naming
    others: Mapping[str, Array]


def fitted_to(
    checkpoint: Checkpoint,
    naming: Naming,
    others: Mapping[str, Array],
    *,
    doubtful: Collection[str],
    absent: Collection[str],
    events: Events,
) -> FittedNames:
    """Fit the tensors to write to those of a checkpoint.

    Args:
        checkpoint: the file of `--like`.
        naming: the tensors that the model file tells of.
        others: the values of those that are no parameters of the graph and not zero.
        doubtful: those that may not belong to the module's state_dict; left out if the checkpoint
            lacks them.
        absent: tensors that the model file does not have, as the network does not read them; taken
            from the checkpoint.
        events: receives a note on each of these kinds.

    Returns:
        The tensors. Those that the checkpoint has under several names are written under each.
    """
    left_out = [name for name in naming if name in doubtful and name not in checkpoint]
    fitted = {name: one for name, one in naming.items() if name not in left_out}
    values = {name: value for name, value in others.items() if name not in left_out}
    new = [name for name in checkpoint if name not in fitted]
    partners = {name: tied_name(checkpoint, name, list(fitted)) for name in new}
    aliases = [name for name in new if partners[name]]
    taken = [name for name in new if not partners[name] and name in absent]
    for name in aliases:
        fitted[name] = fitted[partners[name]]
        if partners[name] in values:
            values[name] = values[partners[name]]
    for name in taken:
        values[name] = checkpoint[name]
        fitted[name] = WrittenTensor("", (), TensorInfo(values[name].shape, values[name].dtype))
    for text, found in (
        ("left out, since --like does not have them", left_out),
        ("written under a second name too, since --like ties them", aliases),
        ("taken from --like, since the network does not read them", taken),
    ):
        if found:
            events.note(f"{text}: {some_of(found)}")
    return FittedNames(fitted, values)


def tied_to(naming: Naming, names: Collection[str]) -> list[str]:
    """Return the tensors that are written under one of some names, too."""
    written = {_place(naming[name]) for name in names if name in naming}
    return [name for name, one in naming.items() if one.parameter and _place(one) in written]


def _place(tensor: WrittenTensor) -> tuple[str, Pieces]:
    return tensor.parameter, tensor.pieces


def equal_values(
    checkpoint: Checkpoint, naming: Naming, weights: Parameters, names: Collection[str]
) -> dict[str, bool]:
    """Compare tensors of the model file with those of a checkpoint.

    Args:
        checkpoint: the file of `--like`.
        naming: the tensors to write.
        weights: the values of the model file's parameters.
        names: the tensors to compare.

    Returns:
        For each tensor that the checkpoint has in this shape whether it has the same value.
    """
    found = {}
    for name in names:
        tensor = naming[name]
        theirs = checkpoint.infos.get(name)
        if not tensor.parameter or theirs is None or theirs.dtype.type is np.void:
            continue
        if theirs.shape == tensor.info.shape:
            ours = tensor.of(weights.stored(tensor.parameter, tensor.info.dtype))
            found[name] = np.array_equal(ours, checkpoint[name].astype(ours.dtype, copy=False))
    return found
