"""Name the tensors of the written file, and fit them to the checkpoint of `--like`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.choices import AUTO_NAMES, ONNX_NAMES
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import VerifyOptions
from lsuv_cli.graph.torch_origin import is_uniform
from lsuv_cli.graph.written_tensors import Naming
from lsuv_cli.jobs.opening import OpenedInputs
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.names.choose import (
    ChosenNames,
    choose_names,
    with_layer_names,
    with_written_names,
)
from lsuv_cli.names.exporter import some_of
from lsuv_cli.names.exporters import exporter_of
from lsuv_cli.weights.checkpoint import Checkpoint
from lsuv_cli.weights.checkpoint_names import unwrapped
from lsuv_cli.weights.checkpoint_shapes import refuse_different_shapes, shapes_of
from lsuv_cli.weights.formats import open_checkpoint
from lsuv_cli.weights.like import equal_values, fitted_to, tied_to
from lsuv_cli.weights.load import fits_framework


@dataclass(frozen=True, slots=True)
class NamedTensors:
    """The tensors of the written file.

    Attributes:
        layer_nodes: the layers, with their own names and those under which their weights are
            written.
        naming: the tensors.
        others: the values of those that are no parameters of the graph and not zero.
    """

    layer_nodes: Sequence[LayerNode]
    naming: Naming
    others: Mapping[str, NDArray[Any]]


def name_tensors(
    inputs: OpenedInputs, layer_nodes: list[LayerNode], *, required: bool
) -> NamedTensors:
    """Choose the names of the written tensors, and those that are written.

    Args:
        inputs: the opened model, and the options.
        layer_nodes: its layers.
        required: see `choose_names`.

    Raises:
        LsuvError: the names that were asked for are not known, or don't fit the file of --like.
    """
    model, options, events = inputs.model, inputs.options, inputs.events
    like = None if options.like is None else _open_like(inputs, options.like)
    if inputs.state is None:
        shapes = None if like is None else shapes_of(like)
        chosen = choose_names(model, layer_nodes, options.names, events, shapes, required=required)
        _tell_recovered(inputs, chosen, like)
    else:
        chosen = ChosenNames(*inputs.state.naming(model, inputs.weights))
        if like is None and required:
            _tell_doubtful(inputs, chosen.naming)
    if like is not None:
        chosen = _fitted(inputs, chosen, like)
    named = with_layer_names(
        model,
        with_written_names(model, layer_nodes, chosen.naming),
        chosen.naming,
        options.names,
        names_are_own=inputs.state is not None or bool(chosen.framework),
    )
    return NamedTensors(named, chosen.naming, chosen.others)


def has_framework_names(inputs: OpenedInputs, layer_nodes: Sequence[LayerNode]) -> bool:
    """Say whether the tensors are written under the names of the framework that exported the model.

    Under the ONNX file's names they are those that it has.

    Args:
        inputs: the opened model, in which what the exporter stored once is several parameters.
        layer_nodes: its layers.
    """
    model, options = inputs.model, inputs.options
    if options.names != AUTO_NAMES:
        return options.names != ONNX_NAMES
    if isinstance(options, VerifyOptions) and options.weights is not None:
        return fits_framework(options.weights, model, layer_nodes, options.names)
    like = None if options.like is None else shapes_of(_open_like(inputs, options.like))
    return bool(choose_names(model, layer_nodes, AUTO_NAMES, Silent(), like).framework)


def _open_like(inputs: OpenedInputs, path: Path) -> Checkpoint:
    """Open the file of --like, without the prefixes of wrapped modules.

    Raises:
        DataError: there is no such file, or it is not a checkpoint.
    """
    model, state = inputs.model, inputs.state
    own = [*model.parameters, *(model.signature.state if model.signature is not None else ())]
    like, prefix = unwrapped(
        open_checkpoint(path, "--like"), own if state is None else list(state.shapes)
    )
    if prefix:
        inputs.events.note(f"the names in {path} begin with {prefix}, which is not written")
    return like


def _tell_recovered(inputs: OpenedInputs, chosen: ChosenNames, like: Checkpoint | None) -> None:
    """Tell which names were recovered; refuse those that --like shows not to be the weights'.

    Raises:
        ModelError: the file of --like has the model's own values, but not those of a weight.
    """
    if not chosen.recovered:
        return
    count = len(chosen.recovered)
    text = f"recovered {count} {chosen.framework} name{'s' if count > 1 else ''}"
    text += f" ({some_of(chosen.recovered)})"
    same = {} if like is None else _comparison(inputs, chosen, like)
    unsure = [name for name in chosen.guessed if not same.get(name)]
    if unsure and same and all(same[name] for name in same if name not in chosen.guessed):
        raise ModelError(
            f"{inputs.model.path}: the network computes what it multiplies by from "
            f"{some_of(unsure)}, of which --like has other values; {chosen.remedy}"
        )
    if unsure and like is None:
        text += "; --like CHECKPOINT checks that no module computes its weight"
    elif unsure:
        text += (
            "; --like has other values than the model file, so that a module may still compute its "
            "weight"
        )
    inputs.events.note(text)


def _comparison(inputs: OpenedInputs, chosen: ChosenNames, like: Checkpoint) -> dict[str, bool]:
    """Compare the tensors whose names are guessed, and one that is known, with those of --like."""
    if not chosen.guessed:
        return {}
    found = equal_values(like, chosen.naming, inputs.weights, chosen.guessed)
    for name in chosen.naming:
        info = like.infos.get(name)
        if name in chosen.guessed or info is None or info.dtype.type is np.void:
            continue
        if is_uniform(like[name]):
            continue
        if one := equal_values(like, chosen.naming, inputs.weights, [name]):
            return found | one
    return {name: same for name, same in found.items() if same}


def _tell_doubtful(inputs: OpenedInputs, naming: Naming) -> None:
    doubtful = [name for name in naming if inputs.state and name in inputs.state.doubtful]
    if doubtful:
        inputs.events.warn(
            f"{inputs.options.model} does not tell which buffers are in the module's state_dict; "
            f"these are written: {some_of(doubtful)}; --like CHECKPOINT decides"
        )


def _fitted(inputs: OpenedInputs, chosen: ChosenNames, like: Checkpoint) -> ChosenNames:
    """Fit the tensors to write to the file of --like.

    Raises:
        DataError: it does not fit them.
    """
    path = inputs.options.like
    assert path is not None
    events = inputs.events
    fitted = fitted_to(
        like,
        chosen.naming,
        chosen.others,
        doubtful=inputs.state.doubtful if inputs.state is not None else (),
        absent=chosen.absent,
        events=events,
    )
    shapes = {name: stored.info.shape for name, stored in fitted.naming.items()}
    wanted = shapes_of(like)
    missing = sorted(wanted.keys() - shapes.keys())
    exporter = exporter_of(inputs.model.skeleton)
    omission = "" if exporter is None else exporter.omission
    if omission and missing and shapes.keys() <= wanted.keys():
        events.warn(f"{omission}: {some_of(missing)}")
        wanted = {name: wanted[name] for name in shapes}
    # A checkpoint may have a tied tensor under one of its names only.
    tied = tied_to(fitted.naming, wanted)
    wanted |= {name: shapes[name] for name in tied if name not in wanted}
    refuse_different_shapes(shapes, wanted, path)
    return replace(chosen, naming=fitted.naming, others=fitted.others)
