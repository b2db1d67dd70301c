"""The command line: text to frozen options, errors to exit codes."""

from __future__ import annotations

import shlex
import sys

import typer

from lsuv_cli import __version__, arguments
from lsuv_cli.core.choices import BatchNorm, Bias, Names, Per, PreInit
from lsuv_cli.core.errors import ExitCode, OutputError, UsageError
from lsuv_cli.core.options import (
    InitOptions,
    SampleOptions,
    check_positive,
    normalisation,
    parse_bytes,
    parse_input_shapes,
    parse_samples,
    parse_size,
    parse_targets,
)
from lsuv_cli.exits import exit_with, run_app
from lsuv_cli.processes.run import Run
from lsuv_cli.reporting import ReportFiles

app = typer.Typer(
    name="lsuv",
    help="Initialise deep networks from data: layer-sequential unit variance (LSUV).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


@app.callback()
def lsuv(version: arguments.VersionOption = False) -> None:
    """Initialise deep networks from data: layer-sequential unit variance (LSUV)."""


EPILOG = (
    "Exit codes: 0 all layers within tolerance; 1 a bug; 2 usage; 3 unusable model or data; "
    "4 written, but some layer is not within tolerance; 5 output can't be written; "
    "6 another process of the run failed or did not answer; "
    "130 interrupted, nothing left behind."
)


@app.command(epilog=EPILOG)
def init(
    model: arguments.ModelArgument,
    *,
    data: arguments.DataOption,
    samples: arguments.SamplesOption = "128",
    preset: arguments.PresetOption = None,
    mean: arguments.MeanOption = None,
    std: arguments.StdOption = None,
    resize: arguments.ResizeOption = None,
    crop: arguments.CropOption = None,
    input_shape: arguments.InputShapeOption = None,
    strict: arguments.StrictOption = False,
    seed: arguments.SeedOption = 0,
    target_std: arguments.TargetStdOption = 1.0,
    tol: arguments.TolOption = 1e-3,
    max_iter: arguments.MaxIterOption = 10,
    pre_init: arguments.PreInitOption = PreInit.ORTHONORMAL,
    bias: arguments.BiasOption = Bias.ZERO,
    per: arguments.PerOption = Per.LAYER,
    bn: arguments.BnOption = BatchNorm.BATCH,
    include: arguments.IncludeOption = None,
    exclude: arguments.ExcludeOption = None,
    target: arguments.TargetOption = None,
    out: arguments.OutOption,
    names: arguments.NamesOption = Names.AUTO,
    like: arguments.LikeOption = None,
    out_model: arguments.OutModelOption = None,
    max_shard_size: arguments.MaxShardSizeOption = None,
    report: arguments.ReportOption = None,
    plot: arguments.PlotOption = None,
    verify: arguments.VerifyOption = True,
    json_output: arguments.JsonOption = False,
    force: arguments.ForceOption = False,
    quiet: arguments.QuietOption = False,
    verbose: arguments.VerboseOption = False,
    device: arguments.DeviceOption = "auto",
    provider: arguments.ProviderOption = None,
    threads: arguments.ThreadsOption = 0,
    batch_size: arguments.BatchSizeOption = None,
    memory: arguments.MemoryOption = "4GB",
    device_memory: arguments.DeviceMemoryOption = "4GB",
    spill_dir: arguments.SpillDirOption = None,
    checkpoint: arguments.CheckpointOption = None,
    timeout: arguments.TimeoutOption = 600.0,
) -> None:
    """Initialise a model's weights by LSUV and write them as safetensors.

    Every convolution and fully connected layer gets an orthonormal matrix and is scaled, from the
    first to the last, so that its output on the samples has the target standard deviation.

    Example: [bold]lsuv init model.onnx --data imgs/ --out init.safetensors --preset imagenet[/bold]
    """

    def work(run: Run) -> ExitCode:
        if quiet and verbose:
            raise UsageError("--quiet and --verbose contradict each other")
        check_positive("--target-std", target_std)
        check_positive("--tol", tol)
        means, stds = normalisation(preset, mean, std)
        files = ReportFiles(report, plot, force)
        options = InitOptions(
            model=model,
            out=out,
            samples=SampleOptions(
                data=tuple(data),
                count=parse_samples(samples),
                seed=seed,
                mean=means,
                std=stds,
                resize=parse_size(resize, "--resize") if resize is not None else None,
                crop=parse_size(crop, "--crop") if crop is not None else None,
                input_shapes=parse_input_shapes(input_shape or ()),
                strict=strict,
                leave_out=tuple(path for path in (out, out_model, report, plot) if path),
            ),
            seed=seed,
            target_std=target_std,
            targets=parse_targets(target or ()),
            tol=tol,
            max_iter=max_iter,
            pre_init=pre_init,
            bias=bias,
            per=per,
            bn=bn,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            names=names,
            like=like,
            out_model=out_model,
            device=device,
            provider=provider,
            threads=threads or run.threads,
            local_rank=run.place.local_rank if run.place else 0,
            batch_size=batch_size,
            memory_bytes=parse_bytes(memory, "--memory"),
            device_memory_bytes=parse_bytes(device_memory, "--device-memory"),
            spill_dir=spill_dir,
            checkpoint=checkpoint,
            timeout=timeout,
            verify=verify,
            force=force,
            max_shard_bytes=(
                None if max_shard_size is None else parse_bytes(max_shard_size, "--max-shard-size")
            ),
        )
        return _run_init(run, options, files, quiet=quiet, verbose=verbose, json_output=json_output)

    exit_with(work)


def _run_init(
    run: Run,
    options: InitOptions,
    files: ReportFiles,
    *,
    quiet: bool,
    verbose: bool,
    json_output: bool,
) -> ExitCode:
    # Imported here, so that --version and --help don't wait for numpy, onnx and ONNX Runtime.
    from lsuv_cli.allocator import return_large_blocks
    from lsuv_cli.console import Screen, Verbosity, print_data
    from lsuv_cli.pipeline import initialize
    from lsuv_cli.report.as_json import render_json
    from lsuv_cli.report.init_page import init_page
    from lsuv_cli.report.table import LayerTable, render_summary

    return_large_blocks()
    verbosity = Verbosity.NORMAL
    if quiet or not run.is_first:
        verbosity = Verbosity.QUIET
    elif verbose:
        verbosity = Verbosity.VERBOSE
    # A few kilobytes of the host's are exchanged; NCCL is for whoever asks for GPUs by name.
    label = options.device if options.device.startswith("cuda") else "cpu"
    with Screen(verbosity) as screen, run.open_group(label, options.timeout) as group:
        if run.is_first:
            outputs = {"--out": options.out, "--out-model": options.out_model}
            files.check(outputs, {"the model": options.model, "the file of --like": options.like})
        report = initialize(options, screen, group)
    code = ExitCode.NOT_CONVERGED if report.failures else ExitCode.SUCCESS
    if not run.is_first:
        return code
    screen.show(LayerTable(report))
    screen.lines(render_summary(report, screen.seconds))
    done = f"the weights are in {report.out}"
    files.write(lambda: init_page(report, shlex.join(["lsuv", *sys.argv[1:]])), done)
    if json_output:
        try:
            print_data(render_json(report))
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"the report can't be written to stdout: {error.strerror or error}; {done}"
            ) from None
    return code


def main() -> None:
    """The `lsuv` command."""
    try:
        code = run_app(app)
    except Exception as error:
        error.add_note(f"This is a bug in lsuv {__version__}; please report it.")
        raise
    sys.exit(code)
