"""`lsuv apply`: write a model with the weights of a file in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lsuv_cli.core.choices import AUTO_NAMES, ONNX_NAMES
from lsuv_cli.core.errors import DataError
from lsuv_cli.core.events import Events
from lsuv_cli.core.options import ApplyOptions
from lsuv_cli.engine.branches import unroll_without_samples
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.jobs.broken_models import explaining_broken_models
from lsuv_cli.jobs.model_output import refuse_model_name, writing_model
from lsuv_cli.layers.find import find_layers
from lsuv_cli.passes.hoist import hoist_constants
from lsuv_cli.reading.formats import open_model_file
from lsuv_cli.reading.model import OnnxModel, model_of
from lsuv_cli.reading.model_format import ModelState
from lsuv_cli.weights.atomic_files import replacing_file
from lsuv_cli.weights.checkpoint_fit import tell_passed_over
from lsuv_cli.weights.checkpoint_names import tied_name, unwrapped
from lsuv_cli.weights.checkpoint_shapes import shape_differences
from lsuv_cli.weights.formats import open_checkpoint
from lsuv_cli.weights.load import fits_framework, load_checkpoint
from lsuv_cli.weights.onnx_output import model_files
from lsuv_cli.weights.output_checks import check_output, refuse_overwriting


def apply_weights(options: ApplyOptions, events: Events) -> list[Path]:
    """Write a model again, with the weights of a file.

    Args:
        options: what the user asked for.
        events: receives progress events.

    Returns:
        The written files.

    Raises:
        LsuvError: the model or the weights can't be used, or the output can't be written.
    """
    _check_output(options, options.out)
    with explaining_broken_models(options.model, options.content):
        return _apply(options, events)


def _apply(options: ApplyOptions, events: Events) -> list[Path]:
    """Write the model, its output having been checked."""
    events.stage("reading the model")
    file = open_model_file(options.model, options.content)
    refuse_model_name(options.out, file.state)
    if file.state is not None:
        return _apply_to_state(options, file.state, events)
    source = hoist_constants(file.source({}))
    source = unroll_without_samples(source).source
    model, weights = _model_for(options, source)
    del source  # it holds the file's weights
    files = model_files(model, options.out)
    for path in files:
        _check_output(options, path)
        refuse_overwriting(path, "the model's external data", model.external_files)
    loaded = load_checkpoint(
        options.weights, model, weights, find_layers(model), events, names=options.names
    )
    for path in files:
        refuse_overwriting(path, "a file of weights", loaded.checkpoint.files)
    events.stage("writing the model")
    with writing_model(model, options.content, weights, options.out, events, force=options.force):
        return files


def _model_for(options: ApplyOptions, source: ModelSource) -> tuple[OnnxModel, Parameters]:
    """Bring the model to normal form, with the parameters that a file of weights has.

    Under the ONNX file's names these are those of the file, of which an exporter may have stored
    equal ones once.
    """
    tied = replace(source, keeps_ties=True)
    if options.names == ONNX_NAMES:
        return model_of(tied)
    model, weights = model_of(source)
    own = (
        not model.copies
        or options.names != AUTO_NAMES
        or fits_framework(options.weights, model, find_layers(model), options.names)
    )
    return (model, weights) if own else model_of(tied)


def _apply_to_state(options: ApplyOptions, state: ModelState, events: Events) -> list[Path]:
    """Write a model whose file has tensors and names of its own, as PyTorch's have."""
    tensors, prefix = unwrapped(open_checkpoint(options.weights), state.shapes)
    refuse_overwriting(options.out, "a file of weights", tensors.files)
    own = state.shapes
    known = sorted(own.keys() & tensors.infos.keys())
    shapes = {
        name: info.shape
        for name, info in tensors.infos.items()
        if name in own or not tied_name(tensors, name, known)
    }
    needed = state.needed(shapes)
    found = shape_differences(shapes, {name: own[name] for name in own if name in needed})
    strange = [f"{name} is {kind}" for name, kind in tensors.kinds.items()]
    if strange:
        found = f"not dense tensors of numbers: {', '.join(strange)}"
    if found:
        raise DataError(f"{options.weights} does not fit the model {options.model}: {found}")
    tell_passed_over(options.weights, prefix, sorted(state.doubtful - shapes.keys()), events)
    with replacing_file(options.out, force=options.force) as (file, _):
        file.write(state.with_values(tensors))
    return [options.out]


def _check_output(options: ApplyOptions, path: Path) -> None:
    refuse_overwriting(path, "the model", [options.model])
    refuse_overwriting(path, "the file of weights", [options.weights])
    check_output(path, force=options.force)
