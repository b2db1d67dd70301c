"""`-` in place of a file: a model or a list of samples from stdin, a result to stdout."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lsuv_cli.core.errors import OutputError, UsageError
from lsuv_cli.processes.run import Run

STANDARD = Path("-")
LISTED_ON_STDIN = "@-"

# What reports and messages call a model that has no path.
PIPED_MODEL = Path("<stdin>")


def model_options(
    model: Path, data: Sequence[str], run: Run, model_args: str | None = None
) -> dict[str, Any]:
    """The model as fields of `WorkOptions`: its path or, read from stdin, its content.

    Args:
        model: as it was given.
        data: what was given as `--data`, which may want stdin too.
        run: the processes of the run.
        model_args: what was given as `--model-args`.

    Raises:
        UsageError: stdin can't be read, or two want it; or `--model-args` is no JSON.
    """
    arguments = {} if model_args is None else {"model_args": _parsed_arguments(model_args)}
    readers = ["the model -"] * (model == STANDARD)
    readers += [f"--data {one}" for one in data if one == LISTED_ON_STDIN]
    if not readers:
        return {"model": model, **arguments}
    if len(readers) > 1:
        raise UsageError(f"{' and '.join(readers)} both want stdin; give one of them a file")
    if run.process is not None:
        raise UsageError(
            f"{readers[0]} reads stdin, which {run.process.size} processes can't share; give a file"
        )
    if sys.stdin is None or sys.stdin.isatty():
        what = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"{readers[0]} reads stdin, which is {what}; give a file, or a pipe")
    if model != STANDARD:
        return {"model": model, **arguments}
    try:
        return {"model": PIPED_MODEL, "content": sys.stdin.buffer.read(), **arguments}
    except OSError as error:
        raise UsageError(f"the model can't be read from stdin: {error.strerror}") from None


def check_stdout(out: Path, run: Run, rivals: Mapping[str, bool]) -> None:
    """Refuse `--out -` where stdout can't take the file.

    Args:
        out: as it was given.
        run: the processes of the run.
        rivals: options that do not go together with it, and whether each was given.

    Raises:
        UsageError: stdout is a terminal, shared, or wanted for something else.
        OutputError: it is closed.
    """
    if out != STANDARD:
        return
    for option, given in rivals.items():
        if given:
            raise UsageError(f"--out - and {option} can't be combined; give --out a file")
    if run.process is not None:
        raise UsageError(
            f"--out - writes to stdout, which {run.process.size} processes can't share; give a file"
        )
    if sys.stdout is None:
        raise OutputError("--out - writes to stdout, which is closed")
    if sys.stdout.isatty():
        raise UsageError("--out - writes to stdout, which is a terminal; give a file, or a pipe")


@contextmanager
def written_to(out: Path, folder: Path | None) -> Iterator[Path]:
    """Return the path to write to: `out` itself or, for `-`, a file copied to stdout at the end.

    Weights are read back while a file is being written, which a pipe does not allow; and nothing
    goes out of a file that did not become whole.

    Args:
        out: as it was given.
        folder: where the file may lie; None, or no folder, for the system's temporary one.

    Raises:
        OutputError: the temporary file, or stdout, can't be written.
    """
    if out != STANDARD:
        yield out
        return
    from lsuv_cli.cli.console import copy_to_stdout

    place = folder if folder is not None and folder.is_dir() else tempfile.gettempdir()
    try:
        temporary = tempfile.TemporaryDirectory(prefix="lsuv-", dir=place)
    except OSError as error:
        raise OutputError(f"can't write in {place}: {error.strerror}") from None
    with temporary as name:
        file = Path(name, "out.safetensors")
        yield file
        try:
            copy_to_stdout(file)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"the file can't be written to stdout: {error.strerror or error}"
            ) from None


def _parsed_arguments(text: str) -> dict[str, Any] | list[Any]:
    """Parse the arguments of a factory: a JSON object by name, or an array in order.

    Raises:
        UsageError: the text is neither.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"--model-args {text[:60]}: not JSON: {error}") from None
    if not isinstance(value, (dict, list)):
        raise UsageError(
            f"--model-args {text[:60]}: neither an object, as "
            """'{"num_classes": 10}', nor an array"""
        )
    return value
