"""`lsuv compare`."""

from __future__ import annotations

from lsuv_cli.cli import arguments
from lsuv_cli.cli.exits import exit_with
from lsuv_cli.cli.flags import (
    DataFlags,
    GoalFlags,
    LayerFlags,
    MachineFlags,
    NameFlags,
    ScreenFlags,
    with_flags,
)
from lsuv_cli.cli.report_files import ReportFiles
from lsuv_cli.cli.running import at_work, print_result, telling, write_report
from lsuv_cli.cli.streams import model_options
from lsuv_cli.core.choices import Bias, PreInit
from lsuv_cli.core.errors import ExitCode
from lsuv_cli.core.option_texts import parse_inits
from lsuv_cli.core.options import DEFAULT_INITS, CompareOptions
from lsuv_cli.processes.run import Run

INITS = ",".join(DEFAULT_INITS)


@with_flags
def compare(
    model: arguments.ModelArgument,
    *,
    data: DataFlags,
    seed: arguments.SeedOption = 0,
    inits: arguments.InitsOption = INITS,
    backward: arguments.BackwardOption = True,
    goal: GoalFlags,
    max_iter: arguments.MaxIterOption = 10,
    pre_init: arguments.ScaledOption = PreInit.ORTHONORMAL,
    bias: arguments.ComparedBiasOption = Bias.ZERO,
    layers: LayerFlags,
    names: NameFlags,
    report: arguments.ReportOption = None,
    plot: arguments.PlotOption = None,
    force: arguments.ForceOption = False,
    screen: ScreenFlags,
    machine: MachineFlags,
) -> None:
    """Compare initialisations: how the signal goes through the network, forward and backward.

    For each the standard deviation of every layer's output and, for a random cotangent of unit
    variance at the model's output, of the gradient by it. No weights are written.

    Example: [bold]lsuv compare model.onnx --data imgs/ --preset imagenet[/bold]
    """

    def work(run: Run) -> ExitCode:
        screen.check()
        files = ReportFiles(report, plot, force)
        options = CompareOptions(
            samples=data.options(seed, files.paths),
            seed=seed,
            inits=parse_inits(inits),
            backward=backward,
            max_iter=max_iter,
            pre_init=pre_init,
            bias=bias,
            force=force,
            **goal.options(),
            **layers.options(),
            **names.options(),
            **machine.options(run),
            **model_options(model, data.data, run),
        )
        return _run(run, options, files, screen)

    exit_with(work)


def _run(run: Run, options: CompareOptions, files: ReportFiles, flags: ScreenFlags) -> ExitCode:
    with at_work(run, options, flags) as (screen, group):
        from lsuv_cli.jobs.compare import compare as measure

        if run.is_first:
            files.check({}, options.inputs)
        comparison = measure(options, screen, group)
    if not run.is_first:
        return ExitCode.SUCCESS
    from lsuv_cli.report.compare_json import comparison_json
    from lsuv_cli.report.compare_page import comparison_page
    from lsuv_cli.report.compare_table import comparison_tables
    from lsuv_cli.report.words import comparison_summary

    for table in comparison_tables(comparison):
        screen.show(table)
    if comparison.no_gradients:
        screen.warn(f"the forward half only: {comparison.no_gradients}")
    screen.lines(comparison_summary(comparison, screen.seconds))
    done = "nothing else was written"
    with telling(done):
        write_report(files, lambda command: comparison_page(comparison, command), done, screen)
    if flags.json_output:
        print_result(lambda: comparison_json(comparison))
    return ExitCode.SUCCESS
