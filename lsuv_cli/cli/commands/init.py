"""`lsuv init`."""

from __future__ import annotations

from dataclasses import replace

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
from lsuv_cli.cli.streams import STANDARD, check_stdout, model_options, written_to
from lsuv_cli.core.choices import Bias, PreInit
from lsuv_cli.core.errors import ExitCode, UsageError
from lsuv_cli.core.option_texts import parse_bytes
from lsuv_cli.core.options import InitOptions
from lsuv_cli.processes.run import Run


@with_flags
def init(
    model: arguments.ModelArgument,
    *,
    data: DataFlags,
    seed: arguments.SeedOption = 0,
    goal: GoalFlags,
    max_iter: arguments.MaxIterOption = 10,
    pre_init: arguments.PreInitOption = PreInit.ORTHONORMAL,
    bias: arguments.BiasOption = Bias.ZERO,
    layers: LayerFlags,
    out: arguments.OutOption,
    names: NameFlags,
    out_model: arguments.OutModelOption = None,
    max_shard_size: arguments.MaxShardSizeOption = None,
    report: arguments.ReportOption = None,
    plot: arguments.PlotOption = None,
    verify: arguments.VerifyOption = True,
    force: arguments.ForceOption = False,
    screen: ScreenFlags,
    machine: MachineFlags,
    resume: arguments.ResumeOption = None,
) -> None:
    """Initialise a model's weights by LSUV and write them as safetensors.

    Every convolution and fully connected layer gets an orthonormal matrix and is scaled, from the
    first to the last, so that its output on the samples has the target standard deviation.

    Example: [bold]lsuv init model.onnx --data imgs/ --out init.safetensors --preset imagenet[/bold]
    """

    def work(run: Run) -> ExitCode:
        screen.check()
        rivals = {
            "--json": screen.json_output,
            "--max-shard-size": max_shard_size is not None,
            # It is removed when the work is done, and stdout's reader may still lose the file.
            "--resume": resume is not None,
        }
        check_stdout(out, run, rivals=[option for option, given in rivals.items() if given])
        if out_model == STANDARD:
            raise UsageError("--out-model - : only --out writes to stdout; give a file")
        files = ReportFiles(report, plot, force)
        options = InitOptions(
            out=out,
            out_model=out_model,
            samples=data.options(seed, tuple(filter(None, (out, out_model, *files.paths)))),
            seed=seed,
            max_iter=max_iter,
            pre_init=pre_init,
            bias=bias,
            resume=resume,
            verify=verify,
            distributions=report is not None,
            force=force,
            max_shard_bytes=(
                None if max_shard_size is None else parse_bytes(max_shard_size, "--max-shard-size")
            ),
            **goal.options(),
            **layers.options(),
            **names.options(),
            **machine.options(run),
            **model_options(model, data.data, run),
        )
        return _run(run, options, files, screen)

    exit_with(work)


def _run(run: Run, options: InitOptions, files: ReportFiles, flags: ScreenFlags) -> ExitCode:
    with at_work(run, options, flags) as (screen, group):
        from lsuv_cli.jobs.init import initialize

        if run.is_first:
            outputs = {"--out": options.out, "--out-model": options.out_model}
            files.check(outputs, options.inputs)
        with written_to(options.out, options.spill_dir) as path:
            report = initialize(replace(options, out=path), screen, group)
    if options.out == STANDARD:
        report = replace(report, out=str(STANDARD), files=(str(STANDARD),))
    code = ExitCode.NOT_CONVERGED if report.failures else ExitCode.SUCCESS
    if not run.is_first:
        return code
    done = f"the weights are in {report.out}"
    with telling(done):
        from lsuv_cli.report.init_json import init_json
        from lsuv_cli.report.init_page import init_page
        from lsuv_cli.report.init_table import InitTable
        from lsuv_cli.report.words import init_summary

        screen.show(InitTable(report))
        screen.lines(init_summary(report, screen.seconds))
        write_report(files, lambda command: init_page(report, command), done, screen)
        if flags.json_output:
            print_result(lambda: init_json(report), done)
    return code
