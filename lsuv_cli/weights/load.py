"""A checkpoint loaded into a model: which of its tensors are which parameters."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lsuv_cli.core.choices import AUTO_NAMES
from lsuv_cli.core.errors import DataError
from lsuv_cli.core.events import Events, Silent
from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.parameters import Parameters, ParameterSource
from lsuv_cli.graph.written_tensors import (
    Naming,
    WrittenTensor,
    assemble_parameter,
    onnx_names,
    tensors_by_parameter,
)
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import written_parameters
from lsuv_cli.names.choose import choose_names
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.reading.model_format import ModelState
from lsuv_cli.weights.checkpoint import Checkpoint
from lsuv_cli.weights.checkpoint_fit import ExpectedNames, fit_checkpoint, tell_passed_over
from lsuv_cli.weights.checkpoint_shapes import shapes_of
from lsuv_cli.weights.formats import open_checkpoint


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint that fits a model.

    Attributes:
        checkpoint: the checkpoint, under the model's names.
        naming: its tensors, and the model's parameters that they hold.
    """

    checkpoint: Checkpoint
    naming: Naming


def load_checkpoint(
    path: Path,
    model: OnnxModel,
    weights: Parameters,
    layer_nodes: Sequence[LayerNode],
    events: Events,
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
        events: receives a note where names or tensors are passed over.
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
    if state is None:
        candidates = list(_namings(checkpoint, model, layer_nodes, names))
    else:
        naming, _ = state.naming(model, weights)
        candidates = [ExpectedNames(naming, doubtful=state.doubtful)]
    fits = [fit_checkpoint(checkpoint, one) for one in candidates]
    fit = next((one for one in fits if not one.misfits), None)
    if fit is None:
        shortest = min((one.misfits for one in fits), key=len)
        raise DataError(f"{path} does not fit the model {model.path}: {shortest}")
    _refuse_untied(fit.checkpoint, fit.naming)
    for parameter, tensors in tensors_by_parameter(fit.naming).items():
        info = model.parameters[parameter]
        read = partial(_read, fit.checkpoint, {name: fit.naming[name] for name in tensors}, info)
        weights.read_from(parameter, ParameterSource(info, read))
    tell_passed_over(path, fit.prefix, fit.kept, events)
    return LoadedCheckpoint(fit.checkpoint, fit.naming)


def fits_framework(
    path: Path, model: OnnxModel, layer_nodes: Sequence[LayerNode], names: str
) -> bool:
    """Say whether a checkpoint has the names of the framework that a model was exported from.

    Args:
        path: the checkpoint.
        model: the model, in which what the exporter stored once is several parameters.
        layer_nodes: its layers.
        names: what the user asked for, a word of `names_words`.

    Raises:
        DataError: there is no such file, or it is not a checkpoint.
    """
    checkpoint = open_checkpoint(path)
    chosen = choose_names(model, layer_nodes, names, Silent(), shapes_of(checkpoint))
    expected = ExpectedNames(chosen.naming, absent=chosen.absent)
    return bool(chosen.framework) and not fit_checkpoint(checkpoint, expected).misfits


def _namings(
    checkpoint: Checkpoint, model: OnnxModel, layer_nodes: Sequence[LayerNode], names: str
) -> Iterator[ExpectedNames]:
    """Yield the names that the checkpoint may have, the likeliest first."""
    chosen = choose_names(model, layer_nodes, names, Silent(), shapes_of(checkpoint))
    yield ExpectedNames(chosen.naming, absent=chosen.absent)
    if names == AUTO_NAMES:
        yield ExpectedNames(onnx_names(written_parameters(model, layer_nodes)))


def _refuse_untied(checkpoint: Checkpoint, naming: Naming) -> None:
    """Refuse a checkpoint that has two values for one parameter of the model."""
    for names in tensors_by_parameter(naming).values():
        for first, other in itertools.combinations(names, 2):
            if naming[first].pieces == naming[other].pieces and not np.array_equal(
                checkpoint[first], checkpoint[other]
            ):
                raise DataError(
                    f"{checkpoint.path}: {first} and {other} differ, but are one parameter in "
                    "the model"
                )


def _read(
    checkpoint: Checkpoint, tensors: Mapping[str, WrittenTensor], info: TensorInfo
) -> FloatArray:
    return assemble_parameter(tensors, info, checkpoint.__getitem__).astype(info.dtype, copy=False)
