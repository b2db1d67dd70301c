"""Write a model with weights in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsuv_cli.core.errors import ModelError, OutputError
from lsuv_cli.core.events import Events
from lsuv_cli.core.options import ApplyOptions
from lsuv_cli.model.applying import refuse_invalid, save_model, with_values
from lsuv_cli.model.control_flow import controlling_nodes
from lsuv_cli.model.layers import find_layers
from lsuv_cli.model.onnx_file import ModelSource, read_source
from lsuv_cli.model.onnx_model import OnnxModel, model_of
from lsuv_cli.model.parameters import Parameters
from lsuv_cli.model.torchscript import TorchScript, is_torch_file
from lsuv_cli.sweep.trial import try_model
from lsuv_cli.weights.checkpoint import differences
from lsuv_cli.weights.output import (
    check_output,
    explaining,
    refuse_overwriting,
    rename_all,
    replacing_file,
)
from lsuv_cli.weights.tensors import open_tensors
from lsuv_cli.weights_file import read_weights


def apply_weights(options: ApplyOptions, events: Events) -> list[Path]:
    """Write a model again, with the weights of a file.

    Args:
        options: what the user asked for.
        events: told how the work goes.

    Returns:
        The written files.

    Raises:
        LsuvError: the model or the weights can't be used, or the output not be written.
    """
    for role, path in (("the model", options.model), ("the file of weights", options.weights)):
        refuse_overwriting(options.out, role, [path])
    check_output(options.out, force=options.force)
    events.stage("reading the model")
    if is_torch_file(options.model, options.content):
        return _apply_to_torchscript(options)
    source = read_source(options.model, options.content)
    refuse_bodies(source)
    model, weights = model_of(source)
    sites = find_layers(model)
    read_weights(options.weights, model, weights, sites, names=options.names)
    events.stage("writing the model")
    with written_model(
        model, options.content, weights, options.out, events, force=options.force
    ) as files:
        return files


def _apply_to_torchscript(options: ApplyOptions) -> list[Path]:
    script = TorchScript(options.model, options.content)
    tensors = open_tensors(options.weights)
    shapes = {name: info.shape for name, info in tensors.infos.items()}
    found = differences(shapes, script.shapes)
    if found:
        raise ModelError(f"{options.weights} does not fit the model {options.model}: {found}")
    with replacing_file(options.out, force=options.force) as (file, _):
        file.write(script.with_values(tensors))
    return [options.out]


def refuse_bodies(source: ModelSource) -> None:
    """Refuse a model whose layers lie in bodies.

    Raises:
        ModelError: it has such.
    """
    nodes = controlling_nodes(source)
    if nodes:
        raise ModelError(
            f"{source.path} has layers inside {nodes[0].op_type}, into which weights can't be put "
            "back; load them in the framework"
        )


@contextmanager
def written_model(
    model: OnnxModel,
    content: bytes | None,
    weights: Parameters,
    out: Path,
    events: Events,
    *,
    force: bool,
) -> Iterator[list[Path]]:
    """Write an ONNX model with the values that its parameters have now.

    Args:
        model: the file it is, in normal form.
        content: the file's bytes, where they are there already.
        weights: its parameters.
        out: where to write; external data goes beside it, as `NAME.data`.
        events: told whether the result could be run.
        force: replace existing files.

    Gives the files, which have their names once the context is left without an error.

    Raises:
        LsuvError: it can't be written, or what was written can't be run.
    """
    proto = with_values(model, content, weights)
    external = bool(model.external_files)
    data = out.with_name(f"{out.name}.data")
    if external:
        refuse_overwriting(data, "the model's external data", model.external_files)
        check_output(data, force=force)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".lsuv-", dir=out.parent)
    except OSError as error:
        raise OutputError(f"can't write in {out.parent}: {error.strerror}") from None
    with folder as name:
        with explaining(out):
            made = save_model(proto, Path(name, out.name), external=external)
        del proto
        refuse_invalid(made[0], model.path, content)
        if not try_model(made[0]):
            events.note(f"{out} was loaded but not run: its inputs leave sizes open")
        files = [out.with_name(file.name) for file in made]
        yield files
        # The data first: a model without it is of no use.
        rename_all(list(zip(made[::-1], files[::-1], strict=True)), force=force)
