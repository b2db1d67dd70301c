"""A checkpoint loaded into a model: which of its tensors are which parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.choices import AUTO_NAMES
from lsuv_cli.core.errors import DataError
from lsuv_cli.core.events import Silent
from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.parameters import Parameters, ParameterSource
from lsuv_cli.graph.written_tensors import (
    WHOLE,
    Naming,
    WrittenTensor,
    assemble_parameter,
    onnx_names,
    tensors_by_parameter,
)
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.names.choose import choose_names, used_values
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.reading.model_format import ModelState
from lsuv_cli.weights.checkpoint import Checkpoint
from lsuv_cli.weights.checkpoint_shapes import shape_differences
from lsuv_cli.weights.formats import open_checkpoint


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint that fits a model.

    Attributes:
        checkpoint: the checkpoint.
        naming: its tensors, and the model's parameters that they hold.
        others: the model file's own values of tensors that are no parameters of its graph.
    """

    checkpoint: Checkpoint
    naming: Naming
    others: Mapping[str, NDArray[Any]]


def load_checkpoint(
    path: Path,
    model: OnnxModel,
    weights: Parameters,
    layer_nodes: Sequence[LayerNode],
    *,
    state: ModelState | None = None,
    names: str = AUTO_NAMES,
) -> LoadedCheckpoint:
    """Load a checkpoint into a model.

    Only names and shapes are read here; a parameter is read when it is asked for, and rounded to
    the dtype that the model stores it in. Constants of the graph that the checkpoint does not name
    keep their values.

    Args:
        path: a checkpoint of a format in `formats.FORMATS`, or an index of shards.
        model: the model.
        weights: its parameters, as they were read; modified to read the checkpoint.
        layer_nodes: its layers, as `find_layers` returns them.
        state: the model file's own tensors and names; None for ONNX.
        names: whose names the checkpoint has, a word of `names_words`; for "auto" the framework's
            or the ONNX file's, whichever fit.

    Returns:
        The checkpoint with the parameters that its tensors hold.

    Raises:
        DataError: there is no such file, it is not a checkpoint, or it does not fit the model.
        ModelError: the names asked for can't be recovered.
    """
    checkpoint = open_checkpoint(path)
    others: Mapping[str, NDArray[Any]] = {}
    if state is None:
        candidates = list(_namings(checkpoint, model, layer_nodes, names))
    else:
        naming, others = state.naming(model, weights)
        candidates = [naming]
    wrong = [_misfits(checkpoint, naming) for naming in candidates]
    if all(wrong):
        shortest = min(wrong, key=len)
        raise DataError(f"{path} does not fit the model {model.path}: {shortest}")
    naming = candidates[wrong.index("")]
    _refuse_untied(checkpoint, naming)
    for parameter, tensors in tensors_by_parameter(naming).items():
        info = model.parameters[parameter]
        read = partial(_read, checkpoint, {name: naming[name] for name in tensors}, info)
        weights.read_from(parameter, ParameterSource(info, read))
    return LoadedCheckpoint(checkpoint, naming, others)


def _namings(
    checkpoint: Checkpoint, model: OnnxModel, layer_nodes: Sequence[LayerNode], names: str
) -> Iterator[Naming]:
    """Yield the namings that the checkpoint may have, the likeliest first."""
    like = {name: info.shape for name, info in checkpoint.infos.items()}
    yield choose_names(model, layer_nodes, names, Silent(), like)
    if names == AUTO_NAMES:
        yield onnx_names(model.written(used_values(layer_nodes)))


def _misfits(checkpoint: Checkpoint, naming: Naming) -> str:
    """Say what keeps a checkpoint from holding a naming's tensors; "" where nothing does."""
    found = shape_differences(
        {name: info.shape for name, info in checkpoint.infos.items()},
        {
            name: tensor.info.shape
            for name, tensor in naming.items()
            if tensor.parameter or name in checkpoint
        },
    )
    strange = [
        f"{name} {checkpoint.infos[name].dtype}"
        for name, tensor in naming.items()
        if name in checkpoint and not _can_be(checkpoint.infos[name].dtype, tensor)
    ]
    numbers = f"not floating-point: {', '.join(strange)}" if strange else ""
    return "; ".join(filter(None, (found, numbers)))


def _can_be(dtype: np.dtype[Any], tensor: WrittenTensor) -> bool:
    return not tensor.parameter or dtype.name.startswith(("float", "bfloat"))


def _refuse_untied(checkpoint: Checkpoint, naming: Naming) -> None:
    """Refuse a checkpoint that has two values for one parameter of the model."""
    for names in tensors_by_parameter(naming).values():
        whole = [name for name in names if naming[name].pieces == WHOLE]
        for other in whole[1:]:
            if not np.array_equal(checkpoint[whole[0]], checkpoint[other]):
                raise DataError(
                    f"{checkpoint.path}: {whole[0]} and {other} differ, but are one parameter in "
                    "the model"
                )


def _read(
    checkpoint: Checkpoint, tensors: Mapping[str, WrittenTensor], info: TensorInfo
) -> FloatArray:
    return assemble_parameter(tensors, info, checkpoint.__getitem__).astype(info.dtype, copy=False)
