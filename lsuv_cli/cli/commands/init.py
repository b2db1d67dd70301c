"""`lsuv init`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lsuv_cli.cli.exits import with_exit_code
from lsuv_cli.cli.options.algorithm import GoalFlags, MaxIterOption, SeedOption
from lsuv_cli.cli.options.data import DataFlags
from lsuv_cli.cli.options.expand import with_flags
from lsuv_cli.cli.options.layers import LayerFlags
from lsuv_cli.cli.options.machine import MachineFlags
from lsuv_cli.cli.options.model import ModelArgsOption, ModelArgument
from lsuv_cli.cli.options.output import (
    ForceOption,
    NameFlags,
    PlotOption,
    ReportOption,
    ScreenFlags,
)
from lsuv_cli.cli.options.panels import ALGORITHM_PANEL, MACHINE_PANEL, OUTPUT_PANEL
from lsuv_cli.cli.report_files import ReportFiles
from lsuv_cli.cli.running import open_run, print_result, telling, write_report
from lsuv_cli.cli.streams import STANDARD, check_stdout, model_options, written_to
from lsuv_cli.core.choices import Bias, PreInit
from lsuv_cli.core.errors import ExitCode, UsageError
from lsuv_cli.core.option_texts import parse_bytes
from lsuv_cli.core.options import InitOptions
from lsuv_cli.processes.run import Run

if TYPE_CHECKING:
    from lsuv_cli.cli.console import Screen
    from lsuv_cli.core.records import Report


OutOption = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        rich_help_panel=OUTPUT_PANEL,
        help="The safetensors file to write; - for stdout.",
    ),
]
PreInitOption = Annotated[
    PreInit,
    typer.Option(
        metavar="KIND",
        rich_help_panel=ALGORITHM_PANEL,
        help="How the weights are initialised before scaling: "
        + ", ".join(kind for kind in PreInit if kind is not PreInit.KEEP)
        + ", or keep for those in the model.",
    ),
]
BiasOption = Annotated[
    Bias,
    typer.Option(
        rich_help_panel=ALGORITHM_PANEL,
        help="Set biases to zero, keep them, or set them so that each channel's mean is zero.",
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        rich_help_panel=MACHINE_PANEL,
        help="Keep a journal of the measurements in this folder, and resume an interrupted run "
        "from it; removed when the run is complete.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class WriteFlags:
    """Files written beside the weights, and how files are written."""

    out_model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=OUTPUT_PANEL,
            help="Also write the model with the new weights, in MODEL's format.",
        ),
    ] = None
    max_shard_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=OUTPUT_PANEL,
            help="Split the weights into files of at most this size (5GB, 500MB, 2GiB) with an "
            "index, in Hugging Face's format.",
        ),
    ] = None
    report: ReportOption = None
    plot: PlotOption = None
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            rich_help_panel=OUTPUT_PANEL,
            help="Measure the layers with the model's own weights and again with the written file.",
        ),
    ] = True
    force: ForceOption = False

    @property
    def report_files(self) -> ReportFiles:
        """The files of the report."""
        return ReportFiles(self.report, self.plot, self.force)

    def options(self) -> dict[str, Any]:
        """Return them as fields of `InitOptions`.

        Raises:
            UsageError: an option's text can't be parsed.
        """
        if self.out_model == STANDARD:
            raise UsageError("--out-model - : only --out writes to stdout; give a file")
        size = self.max_shard_size
        return {
            "out_model": self.out_model,
            "max_shard_bytes": None if size is None else parse_bytes(size, "--max-shard-size"),
            "distributions": self.report is not None,
            "verify": self.verify,
            "force": self.force,
        }

    def outputs(self, out: Path) -> tuple[Path, ...]:
        """The files that will be written."""
        return tuple(filter(None, (out, self.out_model, *self.report_files.paths)))


@with_flags
@with_exit_code
def init(
    run: Run,
    model: ModelArgument,
    *,
    data: DataFlags,
    model_args: ModelArgsOption = None,
    seed: SeedOption = 0,
    goal: GoalFlags,
    max_iter: MaxIterOption = 10,
    pre_init: PreInitOption = PreInit.ORTHONORMAL,
    bias: BiasOption = Bias.ZERO,
    layers: LayerFlags,
    out: OutOption,
    names: NameFlags,
    write: WriteFlags,
    screen: ScreenFlags,
    machine: MachineFlags,
    resume: ResumeOption = None,
) -> ExitCode:
    """Initialise a model's weights by LSUV and write them as safetensors.

    Every convolution and fully connected layer gets an orthonormal matrix and is scaled, from the
    first to the last, so that its output on the samples has the target standard deviation.

    Example: [bold]lsuv init model.onnx --data imgs/ --out init.safetensors --preset imagenet[/bold]
    """
    screen.check()
    rivals = {
        "--json": screen.json_output,
        "--max-shard-size": write.max_shard_size is not None,
        # It is removed when the work is done, and stdout's reader may still lose the file.
        "--resume": resume is not None,
    }
    check_stdout(out, run, rivals)
    options = InitOptions(
        out=out,
        **write.options(),
        samples=data.options(seed, write.outputs(out)),
        seed=seed,
        max_iter=max_iter,
        pre_init=pre_init,
        bias=bias,
        resume=resume,
        **goal.options(),
        **layers.options(),
        **names.options(),
        **machine.options(run),
        **model_options(model, data.data, run, model_args),
    )
    with open_run(run, options, screen) as (display, group):
        from lsuv_cli.jobs.init import initialize_weights

        if run.is_first:
            write.report_files.check({"--out": out, "--out-model": write.out_model}, options.inputs)
        with written_to(out, options.spill_dir) as path:
            report = initialize_weights(replace(options, out=path), display, group)
    if out == STANDARD:
        report = replace(report, out=str(STANDARD), files=(str(STANDARD),))
    if run.is_first:
        _show(report, write.report_files, display, json_output=screen.json_output)
    return ExitCode.NOT_CONVERGED if report.failures else ExitCode.SUCCESS


def _show(report: Report, files: ReportFiles, screen: Screen, *, json_output: bool) -> None:
    """Show the result, and write the files of the report."""
    done = f"the weights are in {report.out}"
    with telling(done):
        from lsuv_cli.report.init_json import init_json
        from lsuv_cli.report.init_page import init_page
        from lsuv_cli.report.init_table import InitTable
        from lsuv_cli.report.words import init_summary

        screen.show(InitTable(report))
        screen.lines(init_summary(report, screen.seconds))
        write_report(files, lambda command: init_page(report, command), done, screen)
        if json_output:
            print_result(lambda: init_json(report), done)
