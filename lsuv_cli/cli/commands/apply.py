"""`lsuv apply`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsuv_cli.cli.completion import WEIGHT_SUFFIXES, files_ending
from lsuv_cli.cli.exits import with_exit_code
from lsuv_cli.cli.options.model import ModelArgument
from lsuv_cli.cli.options.output import ForceOption, NamesOption, QuietOption
from lsuv_cli.cli.options.panels import OUTPUT_PANEL
from lsuv_cli.cli.streams import STANDARD, model_options
from lsuv_cli.core.choices import AUTO_NAMES
from lsuv_cli.core.errors import ExitCode, UsageError
from lsuv_cli.core.options import ApplyOptions
from lsuv_cli.processes.run import Run

AppliedWeightsArgument = Annotated[
    Path,
    typer.Argument(
        metavar="WEIGHTS",
        autocompletion=files_ending(WEIGHT_SUFFIXES),
        help="A weights file: safetensors, a shard index, or a .pt checkpoint of tensors only.",
    ),
]
ModelOutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        rich_help_panel=OUTPUT_PANEL,
        help="The model to write, in MODEL's format.",
    ),
]


@with_exit_code
def apply(
    run: Run,
    model: ModelArgument,
    weights: AppliedWeightsArgument,
    *,
    out: ModelOutOption,
    names: NamesOption = AUTO_NAMES,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> ExitCode:
    """Write a copy of a model with the weights of a weights file.

    An ONNX file is checked by ONNX's checker and run in ONNX Runtime before it gets its name.

    Example: [bold]lsuv apply model.onnx init.safetensors --out model.init.onnx[/bold]
    """
    if out == STANDARD:
        raise UsageError("--out - : only init writes to stdout; give a file")
    options = ApplyOptions(
        weights=weights,
        out=out,
        names=names,
        force=force,
        **model_options(model, (), run),
    )
    from lsuv_cli.cli.console import Screen, Verbosity
    from lsuv_cli.jobs.apply import apply_weights

    with Screen(Verbosity.QUIET if quiet else Verbosity.NORMAL) as screen:
        files = apply_weights(options, screen)
        screen.note(f"wrote {' and '.join(map(str, files))}")
    return ExitCode.SUCCESS
