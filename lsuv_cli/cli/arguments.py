"""What the commands' arguments and options are called, and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsuv_cli import __version__
from lsuv_cli.cli.completion import (
    MODEL_SUFFIXES,
    WEIGHT_SUFFIXES,
    devices,
    files_ending,
    names,
    presets,
)
from lsuv_cli.core.choices import BatchNorm, Bias, Init, Per, PreInit
from lsuv_cli.core.limits import WHOLE_NUMBERS
from lsuv_cli.core.option_texts import PRESETS
from lsuv_cli.names.exporters import EXPORTERS, names_words
from lsuv_cli.report.outputs import PLOT, REPORT, help_text

DATA_PANEL = "Data"
ALGORITHM_PANEL = "Algorithm"
LAYERS_PANEL = "Layers"
OUTPUT_PANEL = "Output"
MACHINE_PANEL = "Machine"

LEAST = {name: least for name, (least, _) in WHOLE_NUMBERS.items()}

PRESET_HELP = ", ".join(PRESETS)

FRAMEWORKS = " or ".join(exporter.framework for exporter in EXPORTERS)


def _check_names(word: str) -> str:
    if word not in names_words():
        known = ", ".join(f"'{one}'" for one in names_words())
        raise typer.BadParameter(f"'{word}' is not one of {known}.")
    return word


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lsuv {__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version",
        metavar="",
        callback=_print_version,
        is_eager=True,
        help="Print the version and exit.",
    ),
]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Options for the commands, as TOML. [dim]\\[default: lsuv.toml, or \\[tool.lsuv] in "
        "pyproject.toml, of this folder or one above][/dim]",
    ),
]
NoConfigOption = Annotated[bool, typer.Option("--no-config", metavar="", help="Read no such file.")]

ModelArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        autocompletion=files_ending(MODEL_SUFFIXES),
        help="The model: an ONNX or a TorchScript file; - for one on stdin.",
    ),
]
WeightsArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="WEIGHTS",
        autocompletion=files_ending(WEIGHT_SUFFIXES),
        help="A file of weights: safetensors, an index of shards, or a .pt of tensors. "
        "[dim]\\[default: the model's own weights][/dim]",
    ),
]
AppliedWeightsArgument = Annotated[
    Path,
    typer.Argument(
        metavar="WEIGHTS",
        autocompletion=files_ending(WEIGHT_SUFFIXES),
        help="A file of weights: safetensors, an index of shards, or a .pt of tensors.",
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
DataOption = Annotated[
    list[str],
    typer.Option(
        "--data",
        "-d",
        metavar="PATH",
        rich_help_panel=DATA_PANEL,
        help="Samples: a file, a folder (searched with its subfolders), a quoted glob, or @FILE "
        "for a list of paths (@- on stdin, as find -print0 writes it); repeatable. Pictures "
        "(JPEG, PNG, WebP, BMP, TIFF, PPM; also in .tar shards and .parquet files), arrays "
        "(.npy, .npz and .safetensors keyed by the model's input names), or token ids (.txt, "
        ".jsonl; a sample a line).",
    ),
]
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
SamplesOption = Annotated[
    str,
    typer.Option(
        metavar="N|all",
        rich_help_panel=DATA_PANEL,
        help="Samples to use, picked by the seed where there are more.",
    ),
]
PresetOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=presets,
        metavar="NAME",
        rich_help_panel=DATA_PANEL,
        help=f"A data set's usual mean and std: {PRESET_HELP}.",
    ),
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        metavar="M[,M...]",
        rich_help_panel=DATA_PANEL,
        help="Subtracted from the samples (pixels in \\[0, 1], arrays as they are): one number, or "
        "one a channel. [dim]\\[default: 0][/dim]",
    ),
]
StdOption = Annotated[
    str | None,
    typer.Option(
        metavar="S[,S...]",
        rich_help_panel=DATA_PANEL,
        help="Divides the samples after that. [dim]\\[default: 1][/dim]",
    ),
]
ResizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=DATA_PANEL,
        help="Resize pictures first: pixels of the shorter side, or HEIGHTxWIDTH. "
        "[dim]\\[default: until they just cover the model's size][/dim]",
    ),
]
CropOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=DATA_PANEL,
        help="Then cut out the centre: pixels, or HEIGHTxWIDTH. "
        "[dim]\\[default: the model's size][/dim]",
    ),
]
PlanOption = Annotated[
    bool,
    typer.Option(
        "--plan",
        metavar="",
        rich_help_panel=MACHINE_PANEL,
        help="Also say what init will take with --samples, --batch-size and --memory as they are "
        "given here: segments, memory, disk, node executions.",
    ),
]
InputShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:SIZES",
        rich_help_panel=DATA_PANEL,
        help="Sizes that the model leaves open, without the batch axis, as x:3,224,224; "
        "repeatable.",
    ),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict",
        metavar="",
        rich_help_panel=DATA_PANEL,
        help="Refuse pictures that can't be read, instead of leaving them out.",
    ),
]
SeedOption = Annotated[
    int,
    typer.Option(
        min=LEAST["seed"],
        metavar="N",
        rich_help_panel=ALGORITHM_PANEL,
        help="Seeds the choice of samples and the draws of weights.",
    ),
]
SampleSeedOption = Annotated[
    int,
    typer.Option(
        "--seed",
        min=LEAST["seed"],
        metavar="N",
        rich_help_panel=DATA_PANEL,
        help="Seeds the choice of samples; as in init, the same are taken.",
    ),
]
TargetStdOption = Annotated[
    float,
    typer.Option(
        metavar="STD",
        rich_help_panel=ALGORITHM_PANEL,
        help="Standard deviation each layer's output is to have.",
    ),
]
TolOption = Annotated[
    float,
    typer.Option(
        metavar="X",
        rich_help_panel=ALGORITHM_PANEL,
        help="Tolerated |variance / target-std^2 - 1|.",
    ),
]
MaxIterOption = Annotated[
    int,
    typer.Option(
        min=LEAST["max_iter"],
        metavar="N",
        rich_help_panel=ALGORITHM_PANEL,
        help="Sweeps at most; one is exact, more follow only where it was not.",
    ),
]
PreInitOption = Annotated[
    PreInit,
    typer.Option(
        metavar="KIND",
        rich_help_panel=ALGORITHM_PANEL,
        help="What the weights are before they are scaled: "
        + ", ".join(kind for kind in PreInit if kind is not PreInit.KEEP)
        + ", or keep for those in the model.",
    ),
]
InitsOption = Annotated[
    str,
    typer.Option(
        metavar="INIT[,INIT...]",
        rich_help_panel=ALGORITHM_PANEL,
        help=f"What to compare: {', '.join(Init)}; keep is the model's own weights and biases.",
    ),
]
ScaledOption = Annotated[
    PreInit,
    typer.Option(
        "--pre-init",
        metavar="KIND",
        rich_help_panel=ALGORITHM_PANEL,
        help="What lsuv scales, as init's option of this name.",
    ),
]
ComparedBiasOption = Annotated[
    Bias,
    typer.Option(
        "--bias",
        rich_help_panel=ALGORITHM_PANEL,
        help="Biases become zero or stay; with center lsuv sets them so that each channel's mean "
        "is zero, and the others have zeros.",
    ),
]
BackwardOption = Annotated[
    bool,
    typer.Option(
        "--backward/--no-backward",
        metavar="",
        rich_help_panel=ALGORITHM_PANEL,
        help="Also find each layer's gradient, with the extra compare.",
    ),
]
BiasOption = Annotated[
    Bias,
    typer.Option(
        rich_help_panel=ALGORITHM_PANEL,
        help="Biases become zero, stay, or are set so that each channel's mean is zero.",
    ),
]
PerOption = Annotated[
    Per,
    typer.Option(
        rich_help_panel=ALGORITHM_PANEL,
        help="One scale a layer, as in the paper, or one an output channel.",
    ),
]
BnOption = Annotated[
    BatchNorm,
    typer.Option(
        rich_help_panel=ALGORITHM_PANEL,
        help="BatchNormalization uses the samples' statistics, as in the first training step, and "
        "its running ones become these; or it uses its running ones and keeps them.",
    ),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        rich_help_panel=LAYERS_PANEL,
        help="Initialise only layers whose name or weight's name matches; repeatable. "
        "[dim]\\[default: all][/dim]",
    ),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        rich_help_panel=LAYERS_PANEL,
        help="Leave layers whose name or weight's name matches as they are; repeatable.",
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB=STD",
        rich_help_panel=LAYERS_PANEL,
        help="Another target-std for matching layers; repeatable, the last match counts.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        autocompletion=devices,
        metavar="DEVICE",
        rich_help_panel=MACHINE_PANEL,
        help="auto (CUDA where it works, else the CPU), cpu, cuda or cuda:N.",
    ),
]
ProviderOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=MACHINE_PANEL,
        help="Another ONNX Runtime execution provider, in place of --device.",
    ),
]
Tf32Option = Annotated[
    bool,
    typer.Option(
        "--tf32",
        rich_help_panel=MACHINE_PANEL,
        help="Let CUDA compute in TensorFloat-32: faster, and the variances are off by some 1e-3.",
    ),
]
ThreadsOption = Annotated[
    int,
    typer.Option(
        min=LEAST["threads"],
        max=WHOLE_NUMBERS["threads"][1],
        metavar="N",
        rich_help_panel=MACHINE_PANEL,
        help="Threads for computing and decoding; 0: one a core.",
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        min=LEAST["batch_size"],
        metavar="N",
        rich_help_panel=MACHINE_PANEL,
        help="Samples that go through the network at once; the scales are those of all samples, "
        "however many. [dim]\\[default: as many as --memory allows][/dim]",
    ),
]
MemoryOption = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=MACHINE_PANEL,
        help="Memory for samples and activations, of each process; weights and libraries come on "
        "top.",
    ),
]
DeviceMemoryOption = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=MACHINE_PANEL,
        help="The same of a GPU, where batches run and activations stay between segments.",
    ),
]
SpillDirOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        rich_help_panel=MACHINE_PANEL,
        help="Where activations go that don't fit into it. "
        "[dim]\\[default: the system's temporary folder][/dim]",
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        rich_help_panel=MACHINE_PANEL,
        help="Keep a journal of what has been measured here, and resume an interrupted run from "
        "it; removed when the run is done.",
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        min=1,
        metavar="SECONDS",
        rich_help_panel=MACHINE_PANEL,
        help="How long to wait for another process of the run, where torchrun or the like has "
        "started several.",
    ),
]
NamesOption = Annotated[
    str,
    typer.Option(
        parser=_check_names,
        metavar=f"<{'|'.join(names_words())}>",
        autocompletion=names,
        rich_help_panel=OUTPUT_PANEL,
        help="Names in the written file: the ONNX file's, or those of the "
        f"{FRAMEWORKS} model it was exported from; auto: the latter where every layer's can be "
        "recovered.",
    ),
]
LikeOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=OUTPUT_PANEL,
        help="A checkpoint (.safetensors, .pt) whose names and shapes the written file must have; "
        "of a Keras model, it tells the paths.",
    ),
]
OutModelOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=OUTPUT_PANEL,
        help="Also write the model with the new weights, in MODEL's format.",
    ),
]
MaxShardSizeOption = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=OUTPUT_PANEL,
        help="Write several files of at most this size (5GB, 500MB, 2GiB) and an index, as "
        "Hugging Face's libraries read them.",
    ),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=OUTPUT_PANEL,
        help=help_text(REPORT),
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=OUTPUT_PANEL,
        help=help_text(PLOT),
    ),
]
VerifyOption = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        metavar="",
        rich_help_panel=OUTPUT_PANEL,
        help="Measure the model's own weights before, and the written file after.",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", metavar="", rich_help_panel=OUTPUT_PANEL, help="Print the report as JSON."
    ),
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", "-f", metavar="", rich_help_panel=OUTPUT_PANEL, help="Replace FILE."),
]
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", metavar="", rich_help_panel=OUTPUT_PANEL, help="Print errors only."
    ),
]
VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        metavar="",
        rich_help_panel=OUTPUT_PANEL,
        help="Print each stage's time too.",
    ),
]
