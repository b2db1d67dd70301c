"""Write a model with new values of its parameters, checked and tried before it gets its name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsuv_cli.core.errors import OutputError
from lsuv_cli.core.events import Events
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.reading.model_format import ModelState
from lsuv_cli.runtime.try_model import try_model
from lsuv_cli.weights.atomic_files import explaining, rename_all
from lsuv_cli.weights.onnx_output import model_files, refuse_invalid, save_model, with_values
from lsuv_cli.weights.output_checks import refuse_misleading_name


def refuse_model_name(out: Path, state: ModelState | None) -> None:
    """Refuse a name under which a model can't be written.

    Args:
        out: the model to write.
        state: the model file's own tensors and names; None for ONNX.

    Raises:
        UsageError: its ending stands for another kind of file.
        OutputError: it is ONNX, whose own checker can't open it.
    """
    refuse_misleading_name(out, "ONNX" if state is None else state.kind)
    if state is not None:
        return
    try:
        str(out.absolute()).encode()
    except UnicodeEncodeError:
        raise OutputError(f"{out}: ONNX can only check files whose path is UTF-8") from None


@contextmanager
def writing_model(
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

    The files of `model_files` get their names when the context is left without an error.

    Args:
        model: the file it is, in normal form.
        content: the file's bytes, if they have been read already.
        weights: its parameters.
        out: where to write; external data goes beside it, as `NAME.data`.
        events: receives a note on what the result was run.
        force: replace existing files.
        threads: for the run that tries it; 0 for one per core.

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
