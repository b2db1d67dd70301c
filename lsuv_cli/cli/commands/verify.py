"""`lsuv verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsuv_cli.cli.completion import WEIGHT_SUFFIXES, files_ending
from lsuv_cli.cli.exits import with_exit_code
from lsuv_cli.cli.options.algorithm import GoalFlags
from lsuv_cli.cli.options.data import DataFlags
from lsuv_cli.cli.options.expand import GivenOptions, with_flags
from lsuv_cli.cli.options.layers import LayerFlags
from lsuv_cli.cli.options.machine import MachineFlags
from lsuv_cli.cli.options.model import ModelArgsOption, ModelArgument
from lsuv_cli.cli.options.output import NameFlags, ReportFlags, ScreenFlags
from lsuv_cli.cli.options.panels import DATA_PANEL, LEAST
from lsuv_cli.cli.report_files import ReportFiles
from lsuv_cli.cli.running import open_run, print_result, telling, write_report
from lsuv_cli.cli.streams import model_options
from lsuv_cli.core.errors import ExitCode
from lsuv_cli.core.options import VerifyOptions
from lsuv_cli.processes.run import Run

if TYPE_CHECKING:
    from lsuv_cli.cli.console import Screen
    from lsuv_cli.core.verification import Verification


WeightsArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="WEIGHTS",
        autocompletion=files_ending(WEIGHT_SUFFIXES),
        help="A weights file: safetensors, a shard index, or a .pt checkpoint of tensors only. "
        "[dim]\\[default: the model's own weights][/dim]",
    ),
]
SampleSeedOption = Annotated[
    int,
    typer.Option(
        "--seed",
        min=LEAST["seed"],
        metavar="N",
        rich_help_panel=DATA_PANEL,
        help="Seed for choosing samples; init with the same seed chooses the same ones.",
    ),
]


@with_flags
@with_exit_code
def verify(
    run: Run,
    model: ModelArgument,
    weights: WeightsArgument = None,
    *,
    data: DataFlags,
    model_args: ModelArgsOption = None,
    seed: SampleSeedOption = 0,
    goal: GoalFlags,
    layers: LayerFlags,
    names: NameFlags,
    report: ReportFlags,
    screen: ScreenFlags,
    machine: MachineFlags,
    given: GivenOptions,
) -> ExitCode:
    """Measure how well a model is initialised, with its own weights or with a weights file.

    Any checkpoint whose names and shapes match the model's can be used. For a file of lsuv init the
    defaults of --per, --bn, --target-std, --target, --tol, --include, --exclude, --mean, --std,
    --resize and --crop are those it was made with. Exit code 4 means that some layer's output does
    not have the target standard deviation.

    Example: [bold]lsuv verify model.onnx init.safetensors --data imgs/ --preset imagenet[/bold]
    """
    screen.check()
    files = report.files
    options = VerifyOptions(
        weights=weights,
        given=given,
        samples=data.options(seed, files.paths),
        seed=seed,
        force=report.force,
        **goal.options(),
        **layers.options(),
        **names.options(),
        **machine.options(run),
        **model_options(model, data.data, run, model_args),
    )
    with open_run(run, options, screen) as (display, group):
        from lsuv_cli.jobs.verify import verify_weights

        if run.is_first:
            files.check({}, {**options.inputs, "the file of weights": options.weights})
        verification = verify_weights(options, display, group)
    if run.is_first:
        _show(verification, files, display, json_output=screen.json_output)
    return ExitCode.NOT_CONVERGED if verification.failures else ExitCode.SUCCESS


def _show(
    verification: Verification, files: ReportFiles, screen: Screen, *, json_output: bool
) -> None:
    """Show the result, and write the files of the report."""
    from lsuv_cli.report.verify_json import verification_json
    from lsuv_cli.report.verify_page import verification_page
    from lsuv_cli.report.verify_table import verification_table
    from lsuv_cli.report.words import verification_summary

    screen.show(verification_table(verification))
    screen.lines(verification_summary(verification, screen.seconds))
    done = "nothing else was written"
    with telling(done):
        write_report(files, lambda command: verification_page(verification, command), done, screen)
    if json_output:
        print_result(lambda: verification_json(verification))
