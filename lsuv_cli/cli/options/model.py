"""The model's argument, which every command has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsuv_cli.cli.completion import MODEL_SUFFIXES, files_ending
from lsuv_cli.cli.options.panels import DATA_PANEL

ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        autocompletion=files_ending(MODEL_SUFFIXES),
        help="The model: an ONNX, .pt2 or TorchScript file, or - to read it from stdin; or what "
        "makes a PyTorch module, as package.module:factory or file.py:Network, whose code is then "
        "run.",
    ),
]
ModelArgsOption = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        rich_help_panel=DATA_PANEL,
        help="Arguments for the factory that MODEL names: an object by name, or an array.",
    ),
]
