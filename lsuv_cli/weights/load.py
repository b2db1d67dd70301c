"""A file of weights put into a model: which of its tensors are which parameters."""

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
    onnx_names,
    parameter_of,
    tensors_by_parameter,
)
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.names.choose import choose_names, used_values
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.reading.model_format import ModelState
from lsuv_cli.weights.checkpoint import Checkpoint
from lsuv_cli.weights.formats import open_checkpoint
from lsuv_cli.weights.like import differences


@dataclass(frozen=True, slots=True)
class ReadWeights:
    """A file of weights that fits a model.

    Attributes:
        file: its tensors.
        naming: what they are in the model.
        others: values, by the model, of tensors that are no parameters of its graph.
    """

    file: Checkpoint
    naming: Naming
    others: Mapping[str, NDArray[Any]]


def read_weights(
    path: Path,
    model: OnnxModel,
    weights: Parameters,
    layer_nodes: Sequence[LayerNode],
    *,
    state: ModelState | None = None,
    names: str = AUTO_NAMES,
) -> ReadWeights:
    """Have a model's parameters be those in a file of weights.

    Only names and shapes are read here; a parameter is read when it is asked for, and rounded to
    the dtype that the model stores it in. Constants of the graph that the file does not name keep
    their values.

    Args:
        path: a safetensors file, an index of such shards, or a `.pt` of tensors alone.
        model: the model.
        weights: its parameters, as they were read; modified.
        layer_nodes: its layers, as `find_layers` gives them.
        state: the model file's own tensors and names; None for ONNX.
        names: whose the file's names are; auto: a framework's or else the ONNX file's, whichever
            fit.

    Returns:
        The file, and what its tensors are in the model; `renamed(model, layer_nodes, naming)`
        calls the layers' parameters as they are called there.

    Raises:
        DataError: there is no such file, it is no file of weights, or it does not fit the model.
        ModelError: the names asked for can't be told.
    """
    file = open_checkpoint(path)
    others: Mapping[str, NDArray[Any]] = {}
    if state is None:
        candidates = list(_namings(file, model, layer_nodes, names))
    else:
        naming, others = state.naming(model, weights)
        candidates = [naming]
    wrong = [_misfits(file, naming) for naming in candidates]
    if all(wrong):
        shortest = min(wrong, key=len)
        raise DataError(f"{path} does not fit the model {model.path}: {shortest}")
    naming = candidates[wrong.index("")]
    _refuse_untied(file, naming)
    for parameter, tensors in tensors_by_parameter(naming).items():
        info = model.parameters[parameter]
        read = partial(_read, file, {name: naming[name] for name in tensors}, info)
        weights.read_from(parameter, ParameterSource(info, read))
    return ReadWeights(file, naming, others)


def _namings(
    file: Checkpoint, model: OnnxModel, layer_nodes: Sequence[LayerNode], names: str
) -> Iterator[Naming]:
    """What the file's tensors may be called, the likeliest first."""
    like = {name: info.shape for name, info in file.infos.items()}
    yield choose_names(model, layer_nodes, names, Silent(), like)
    if names == AUTO_NAMES:
        yield onnx_names(model.written(used_values(layer_nodes)))


def _misfits(file: Checkpoint, naming: Naming) -> str:
    """What keeps a file from holding the tensors of a naming; "" where nothing does."""
    found = differences(
        {name: info.shape for name, info in file.infos.items()},
        {
            name: stored.info.shape
            for name, stored in naming.items()
            if stored.parameter or name in file
        },
    )
    strange = [
        f"{name} {file.infos[name].dtype}"
        for name, stored in naming.items()
        if name in file and not _can_be(file.infos[name].dtype, stored)
    ]
    numbers = f"not floating-point: {', '.join(strange)}" if strange else ""
    return "; ".join(filter(None, (found, numbers)))


def _can_be(dtype: np.dtype[Any], stored: WrittenTensor) -> bool:
    return not stored.parameter or dtype.name.startswith(("float", "bfloat"))


def _refuse_untied(file: Checkpoint, naming: Naming) -> None:
    """Refuse a file that has two values for what is one parameter of the model."""
    for names in tensors_by_parameter(naming).values():
        whole = [name for name in names if naming[name].pieces == WHOLE]
        for other in whole[1:]:
            if not np.array_equal(file[whole[0]], file[other]):
                raise DataError(
                    f"{file.path}: {whole[0]} and {other} differ, but are one parameter in the "
                    "model"
                )


def _read(file: Checkpoint, tensors: Mapping[str, WrittenTensor], info: TensorInfo) -> FloatArray:
    return parameter_of(tensors, info, file.__getitem__).astype(info.dtype, copy=False)
