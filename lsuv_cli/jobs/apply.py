"""Write a model with weights in it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lsuv_cli.core.errors import DataError, OutputError
from lsuv_cli.core.events import Events
from lsuv_cli.core.options import ApplyOptions
from lsuv_cli.engine.branches import along_any
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.layers.find import find_layers
from lsuv_cli.passes.hoist import hoist_constants
from lsuv_cli.reading.formats import open_model_file
from lsuv_cli.reading.model import OnnxModel, model_of
from lsuv_cli.reading.model_format import ModelState
from lsuv_cli.runtime.trial import try_model
from lsuv_cli.weights.atomic_files import explaining, rename_all, replacing_file
from lsuv_cli.weights.checkpoint_shapes import shape_differences
from lsuv_cli.weights.formats import open_checkpoint
from lsuv_cli.weights.load import load_checkpoint
from lsuv_cli.weights.onnx_output import model_files, refuse_invalid, save_model, with_values
from lsuv_cli.weights.output_checks import check_output, refuse_misleading_name, refuse_overwriting


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
    _check_output(options, options.out)
    events.stage("reading the model")
    file = open_model_file(options.model, options.content)
    refuse_model_name(options.out, is_torch=file.state is not None)
    if file.state is not None:
        return _apply_to_state(options, file.state)
    source = hoist_constants(file.source({}))
    model, weights = model_of(along_any(source))
    del source  # it holds the file's weights
    files = model_files(model, options.out)
    for path in files:
        _check_output(options, path)
        refuse_overwriting(path, "the model's external data", model.external_files)
    loaded = load_checkpoint(
        options.weights, model, weights, find_layers(model), names=options.names
    )
    for path in files:
        refuse_overwriting(path, "a file of weights", loaded.checkpoint.files)
    events.stage("writing the model")
    with written_model(model, options.content, weights, options.out, events, force=options.force):
        return files


def _apply_to_state(options: ApplyOptions, state: ModelState) -> list[Path]:
    tensors = open_checkpoint(options.weights)
    refuse_overwriting(options.out, "a file of weights", tensors.files)
    shapes = {name: info.shape for name, info in tensors.infos.items()}
    found = shape_differences(shapes, state.shapes)
    strange = [name for name, info in tensors.infos.items() if info.dtype.type is np.void]
    if strange:
        found = f"no type that can be read: {', '.join(strange)}"
    if found:
        raise DataError(f"{options.weights} does not fit the model {options.model}: {found}")
    with replacing_file(options.out, force=options.force) as (file, _):
        file.write(state.with_values(tensors))
    return [options.out]


def refuse_model_name(out: Path, *, is_torch: bool) -> None:
    """Refuse a name under which a model can't be written.

    Args:
        out: the model to write.
        is_torch: whether it is TorchScript and not ONNX.

    Raises:
        UsageError: its ending stands for another kind of file.
        OutputError: it is ONNX, whose own checker can't open it.
    """
    refuse_misleading_name(out, "PyTorch's" if is_torch else "ONNX")
    if is_torch:
        return
    try:
        str(out.absolute()).encode()
    except UnicodeEncodeError:
        raise OutputError(f"{out}: ONNX can only check files whose path is UTF-8") from None


def _check_output(options: ApplyOptions, path: Path) -> None:
    refuse_overwriting(path, "the model", [options.model])
    refuse_overwriting(path, "the file of weights", [options.weights])
    check_output(path, force=options.force)


@contextmanager
def written_model(
    model: OnnxModel,
    content: bytes | None,
    weights: Parameters,
    out: Path,
    events: Events,
    *,
    force: bool,
    threads: int = 0,
) -> Iterator[None]:
    """Write an ONNX model with the values that its parameters have now.

    Args:
        model: the file it is, in normal form.
        content: the file's bytes, where they are there already.
        weights: its parameters.
        out: where to write; external data goes beside it, as `NAME.data`.
        events: told on what the result was run.
        force: replace existing files.
        threads: for the run that tries it; 0 for one a core.

    The files of `model_files` have their names once the context is left without an error.

    Raises:
        LsuvError: it can't be written, or what was written can't be run.
    """
    proto, values = with_values(model, content, weights)
    files = model_files(model, out)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".lsuv-", dir=out.parent)
    except OSError as error:
        raise OutputError(f"can't write in {out.parent}: {error.strerror}") from None
    with folder as name:
        made = [Path(name, file.name) for file in files]
        with explaining(out):
            save_model(proto, values, made)
        del proto
        original = str(model.path) if content is None else content
        refuse_invalid(made[0], original)
        events.note(f"{out} was checked and {try_model(made, original, threads)}")
        yield
        # The data first: a model without it is of no use.
        rename_all(list(zip(made[::-1], files[::-1], strict=True)), force=force)
