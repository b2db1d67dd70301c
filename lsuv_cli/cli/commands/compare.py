"""`lsuv compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lsuv_cli.cli.exits import with_exit_code
from lsuv_cli.cli.options.algorithm import GoalFlags, MaxIterOption, SeedOption
from lsuv_cli.cli.options.data import DataFlags
from lsuv_cli.cli.options.expand import with_flags
from lsuv_cli.cli.options.layers import LayerFlags
from lsuv_cli.cli.options.machine import MachineFlags
from lsuv_cli.cli.options.model import ModelArgsOption, ModelArgument
from lsuv_cli.cli.options.output import NameFlags, ReportFlags, ScreenFlags
from lsuv_cli.cli.options.panels import ALGORITHM_PANEL
from lsuv_cli.cli.report_files import ReportFiles
from lsuv_cli.cli.running import open_run, print_result, telling, write_report
from lsuv_cli.cli.streams import model_options
from lsuv_cli.core.choices import Bias, Init, PreInit
from lsuv_cli.core.errors import ExitCode
from lsuv_cli.core.option_texts import parse_inits
from lsuv_cli.core.options import DEFAULT_INITS, CompareOptions
from lsuv_cli.processes.run import Run

if TYPE_CHECKING:
    from lsuv_cli.cli.console import Screen
    from lsuv_cli.core.comparison import Comparison

INITS = ",".join(DEFAULT_INITS)


InitsOption = Annotated[
    str,
    typer.Option(
        metavar="INIT[,INIT...]",
        rich_help_panel=ALGORITHM_PANEL,
        help=f"What to compare: {', '.join(Init)}; keep is the model's own weights and biases.",
    ),
]
BackwardOption = Annotated[
    bool,
    typer.Option(
        "--backward/--no-backward",
        rich_help_panel=ALGORITHM_PANEL,
        help="Also compute each layer's gradient; needs the extra compare.",
    ),
]
ScaledOption = Annotated[
    PreInit,
    typer.Option(
        "--pre-init",
        metavar="KIND",
        rich_help_panel=ALGORITHM_PANEL,
        help="Weights that LSUV starts from, as in lsuv init --pre-init.",
    ),
]
ComparedBiasOption = Annotated[
    Bias,
    typer.Option(
        "--bias",
        rich_help_panel=ALGORITHM_PANEL,
        help="Set biases to zero or keep them; with center, lsuv sets them so that each "
        "channel's mean is zero, and the other initialisations use zeros.",
    ),
]


@with_flags
@with_exit_code
def compare(
    run: Run,
    model: ModelArgument,
    *,
    data: DataFlags,
    model_args: ModelArgsOption = None,
    seed: SeedOption = 0,
    inits: InitsOption = INITS,
    backward: BackwardOption = True,
    goal: GoalFlags,
    max_iter: MaxIterOption = 10,
    pre_init: ScaledOption = PreInit.ORTHONORMAL,
    bias: ComparedBiasOption = Bias.ZERO,
    layers: LayerFlags,
    names: NameFlags,
    report: ReportFlags,
    screen: ScreenFlags,
    machine: MachineFlags,
) -> ExitCode:
    """Compare initialisations: how the signal propagates, forward and backward.

    For each the standard deviation of every layer's output and, for a random cotangent of unit
    variance at the model's output, of the gradient with respect to it. No weights are written.

    Example: [bold]lsuv compare model.onnx --data imgs/ --preset imagenet[/bold]
    """
    screen.check()
    files = report.files
    options = CompareOptions(
        samples=data.options(seed, files.paths),
        seed=seed,
        inits=parse_inits(inits),
        backward=backward,
        max_iter=max_iter,
        pre_init=pre_init,
        bias=bias,
        force=report.force,
        **goal.options(),
        **layers.options(),
        **names.options(),
        **machine.options(run),
        **model_options(model, data.data, run, model_args),
    )
    with open_run(run, options, screen) as (display, group):
        from lsuv_cli.jobs.compare import compare_inits

        if run.is_first:
            files.check({}, options.inputs)
        comparison = compare_inits(options, display, group)
    if run.is_first:
        _show(comparison, files, display, json_output=screen.json_output)
    return ExitCode.SUCCESS


def _show(comparison: Comparison, files: ReportFiles, screen: Screen, *, json_output: bool) -> None:
    """Show the result, and write the files of the report."""
    from lsuv_cli.report.compare_json import comparison_json
    from lsuv_cli.report.compare_page import comparison_page
    from lsuv_cli.report.compare_table import comparison_tables
    from lsuv_cli.report.words import comparison_summary

    for table in comparison_tables(comparison):
        screen.show(table)
    if comparison.no_gradients:
        screen.warn(f"gradients were not computed: {comparison.no_gradients}")
    screen.lines(comparison_summary(comparison, screen.seconds))
    done = "nothing else was written"
    with telling(done):
        write_report(files, lambda command: comparison_page(comparison, command), done, screen)
    if json_output:
        print_result(lambda: comparison_json(comparison))
