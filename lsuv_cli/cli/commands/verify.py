"""`lsuv verify`."""

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
from lsuv_cli.core.errors import ExitCode
from lsuv_cli.core.options import VerifyOptions
from lsuv_cli.processes.run import Run


@with_flags
def verify(
    model: arguments.ModelArgument,
    weights: arguments.WeightsArgument = None,
    *,
    data: DataFlags,
    seed: arguments.SampleSeedOption = 0,
    goal: GoalFlags,
    layers: LayerFlags,
    names: NameFlags,
    report: arguments.ReportOption = None,
    plot: arguments.PlotOption = None,
    force: arguments.ForceOption = False,
    screen: ScreenFlags,
    machine: MachineFlags,
) -> None:
    """Measure how well a model is initialised: with a file of weights, or with its own.

    Any checkpoint serves whose names and shapes are the model's. Exit code 4 tells that some
    layer's output has not the target standard deviation.

    Example: [bold]lsuv verify model.onnx init.safetensors --data imgs/ --preset imagenet[/bold]
    """

    def work(run: Run) -> ExitCode:
        screen.check()
        files = ReportFiles(report, plot, force)
        options = VerifyOptions(
            weights=weights,
            samples=data.options(seed, files.paths),
            seed=seed,
            force=force,
            **goal.options(),
            **layers.options(),
            **names.options(),
            **machine.options(run),
            **model_options(model, data.data, run),
        )
        return _run(run, options, files, screen)

    exit_with(work)


def _run(run: Run, options: VerifyOptions, files: ReportFiles, flags: ScreenFlags) -> ExitCode:
    with at_work(run, options, flags) as (screen, group):
        from lsuv_cli.jobs.verify import verify as measure

        if run.is_first:
            files.check({}, {**options.inputs, "the file of weights": options.weights})
        verification = measure(options, screen, group)
    code = ExitCode.NOT_CONVERGED if verification.failures else ExitCode.SUCCESS
    if not run.is_first:
        return code
    from lsuv_cli.report.verify_json import verification_json
    from lsuv_cli.report.verify_page import verification_page
    from lsuv_cli.report.verify_table import verification_table
    from lsuv_cli.report.words import verification_summary

    screen.show(verification_table(verification))
    screen.lines(verification_summary(verification, screen.seconds))
    done = "nothing else was written"
    with telling(done):
        write_report(files, lambda command: verification_page(verification, command), done, screen)
    if flags.json_output:
        print_result(lambda: verification_json(verification))
    return code
