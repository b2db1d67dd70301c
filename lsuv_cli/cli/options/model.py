"""The model's argument, which every command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsuv_cli.cli.completion import MODEL_SUFFIXES, files_ending

ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        autocompletion=files_ending(MODEL_SUFFIXES),
        help="The model: an ONNX, .pt2 or TorchScript file, or - to read it from stdin.",
    ),
]
