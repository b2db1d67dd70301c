"""The command line: text to frozen options, errors to exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsuv_cli import __version__
from lsuv_cli.core.choices import Bias, Per, PreInit
from lsuv_cli.core.errors import ExitCode, UsageError
from lsuv_cli.core.options import (
    PRESETS,
    InitOptions,
    SampleOptions,
    normalisation,
    parse_input_shape,
    parse_size,
    parse_targets,
)
from lsuv_cli.exits import exit_with

app = typer.Typer(
    name="lsuv",
    help="Initialise deep networks from data: layer-sequential unit variance (LSUV).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)

DATA_PANEL = "Data"
ALGORITHM_PANEL = "Algorithm"
LAYERS_PANEL = "Layers"
OUTPUT_PANEL = "Output"
MACHINE_PANEL = "Machine"

PRESET_HELP = ", ".join(PRESETS)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lsuv {__version__}")
        raise typer.Exit


@app.callback()
def lsuv(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Initialise deep networks from data: layer-sequential unit variance (LSUV)."""


EPILOG = (
    "Exit codes: 0 all layers within tolerance; 1 a bug; 2 usage; 3 unusable model or data; "
    "4 written, but some layer is not within tolerance; 5 output can't be written; "
    "130 interrupted, nothing left behind."
)


@app.command(epilog=EPILOG)
def init(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The model, an ONNX file.")],
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            "-d",
            metavar="PATH",
            rich_help_panel=DATA_PANEL,
            help="Samples: a file, a folder (searched with its subfolders) or a quoted glob; "
            "repeatable. Pictures (JPEG, PNG, WebP, BMP, TIFF, PPM) or arrays (.npy, .npz and "
            ".safetensors keyed by the model's input names).",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            rich_help_panel=OUTPUT_PANEL,
            help="The safetensors file to write.",
        ),
    ],
    samples: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=DATA_PANEL,
            help="Samples to use, picked by the seed where there are more.",
        ),
    ] = 128,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=DATA_PANEL,
            help=f"A data set's usual mean and std: {PRESET_HELP}.",
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="M[,M...]",
            rich_help_panel=DATA_PANEL,
            help="Subtracted from the pixels, which are in \\[0, 1]: one number, or one a "
            "channel. [dim]\\[default: 0][/dim]",
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="S[,S...]",
            rich_help_panel=DATA_PANEL,
            help="Divides the pixels after that. [dim]\\[default: 1][/dim]",
        ),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=DATA_PANEL,
            help="Resize pictures first: pixels of the shorter side, or HEIGHTxWIDTH. "
            "[dim]\\[default: until they just cover the model's size][/dim]",
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=DATA_PANEL,
            help="Then cut out the centre: pixels, or HEIGHTxWIDTH. "
            "[dim]\\[default: the model's size][/dim]",
        ),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:SIZES",
            rich_help_panel=DATA_PANEL,
            help="Sizes that the model leaves open, without the batch axis, as x:3,224,224; "
            "repeatable.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            rich_help_panel=DATA_PANEL,
            help="Refuse pictures that can't be read, instead of leaving them out.",
        ),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            rich_help_panel=ALGORITHM_PANEL,
            help="Seeds the choice of samples and the draws of weights.",
        ),
    ] = 0,
    target_std: Annotated[
        float,
        typer.Option(
            rich_help_panel=ALGORITHM_PANEL,
            help="Standard deviation each layer's output is to have.",
        ),
    ] = 1.0,
    tol: Annotated[
        float,
        typer.Option(
            rich_help_panel=ALGORITHM_PANEL,
            help="Tolerated |variance / target-std^2 - 1|.",
        ),
    ] = 1e-3,
    max_iter: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=ALGORITHM_PANEL,
            help="Sweeps at most; one is exact, more follow only where it was not.",
        ),
    ] = 10,
    pre_init: Annotated[
        PreInit,
        typer.Option(
            rich_help_panel=ALGORITHM_PANEL,
            help="What the weights are before they are scaled; keep: those in the model.",
        ),
    ] = PreInit.ORTHONORMAL,
    bias: Annotated[
        Bias,
        typer.Option(
            rich_help_panel=ALGORITHM_PANEL,
            help="Biases become zero, stay, or are set so that each channel's mean is zero.",
        ),
    ] = Bias.ZERO,
    per: Annotated[
        Per,
        typer.Option(
            rich_help_panel=ALGORITHM_PANEL,
            help="One scale a layer, as in the paper, or one an output channel.",
        ),
    ] = Per.LAYER,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            rich_help_panel=LAYERS_PANEL,
            help="Initialise only layers whose name or weight's name matches; repeatable. "
            "[dim]\\[default: all][/dim]",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            rich_help_panel=LAYERS_PANEL,
            help="Leave layers whose name or weight's name matches as they are; repeatable.",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB=STD",
            rich_help_panel=LAYERS_PANEL,
            help="Another target-std for matching layers; repeatable, the last match counts.",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            rich_help_panel=MACHINE_PANEL,
            help="auto (CUDA where it works, else the CPU), cpu, cuda or cuda:N.",
        ),
    ] = "auto",
    provider: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=MACHINE_PANEL,
            help="Another ONNX Runtime execution provider, in place of --device.",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            min=0,
            rich_help_panel=MACHINE_PANEL,
            help="Threads for computing and decoding; 0: one a core.",
        ),
    ] = 0,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            rich_help_panel=OUTPUT_PANEL,
            help="Measure the model's own weights before, and the written file after.",
        ),
    ] = True,
    json_output: Annotated[
        bool,
        typer.Option("--json", rich_help_panel=OUTPUT_PANEL, help="Print the report as JSON."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", "-f", rich_help_panel=OUTPUT_PANEL, help="Replace FILE."),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", rich_help_panel=OUTPUT_PANEL, help="Print errors only."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", rich_help_panel=OUTPUT_PANEL, help="Print each stage's time too."
        ),
    ] = False,
) -> None:
    """Initialise a model's weights by LSUV and write them as safetensors.

    Every convolution and fully connected layer gets an orthonormal matrix and is scaled, from the
    first to the last, so that its output on the samples has the target standard deviation.

    Example: [bold]lsuv init model.onnx --data imgs/ --out init.safetensors --preset imagenet[/bold]
    """

    def work() -> ExitCode:
        if quiet and verbose:
            raise UsageError("--quiet and --verbose contradict each other")
        for name, value in (("--target-std", target_std), ("--tol", tol)):
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} {value}: must be positive and finite")
        means, stds = normalisation(preset, mean, std)
        options = InitOptions(
            model=model,
            out=out,
            samples=SampleOptions(
                data=tuple(data),
                count=samples,
                seed=seed,
                mean=means,
                std=stds,
                resize=parse_size(resize, "--resize") if resize is not None else None,
                crop=parse_size(crop, "--crop") if crop is not None else None,
                input_shapes=dict(parse_input_shape(text) for text in input_shape or ()),
                strict=strict,
            ),
            seed=seed,
            target_std=target_std,
            targets=parse_targets(target or ()),
            tol=tol,
            max_iter=max_iter,
            pre_init=pre_init,
            bias=bias,
            per=per,
            include=tuple(include or ()),
            exclude=tuple(exclude or ()),
            device=device,
            provider=provider,
            threads=threads,
            verify=verify,
            force=force,
        )
        return _run_init(options, quiet=quiet, verbose=verbose, json_output=json_output)

    exit_with(work)


def _run_init(options: InitOptions, *, quiet: bool, verbose: bool, json_output: bool) -> ExitCode:
    # Imported here, so that --version and --help don't wait for numpy, onnx and ONNX Runtime.
    from lsuv_cli.console import Screen, Verbosity, print_data
    from lsuv_cli.pipeline import initialize
    from lsuv_cli.report.as_json import render_json
    from lsuv_cli.report.table import render_summary, render_table

    verbosity = Verbosity.NORMAL
    if quiet:
        verbosity = Verbosity.QUIET
    elif verbose:
        verbosity = Verbosity.VERBOSE
    with Screen(verbosity) as screen:
        report = initialize(options, screen)
    screen.show(render_table(report))
    screen.lines(render_summary(report, screen.seconds))
    if json_output:
        print_data(render_json(report))
    return ExitCode.NOT_CONVERGED if report.failures else ExitCode.SUCCESS


def main() -> None:
    """The `lsuv` command."""
    try:
        app()
    except Exception as error:
        error.add_note(f"This is a bug in lsuv {__version__}; please report it.")
        raise
