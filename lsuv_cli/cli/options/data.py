"""Options for the samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lsuv_cli.cli.completion import complete_presets
from lsuv_cli.cli.options.feeds import parse_feeds
from lsuv_cli.cli.options.panels import DATA_PANEL
from lsuv_cli.core.option_texts import (
    PRESETS,
    normalisation,
    parse_batch_axes,
    parse_input_shapes,
    parse_samples,
    parse_size,
)
from lsuv_cli.core.options import SampleOptions

SamplesOption = Annotated[
    str,
    typer.Option(
        metavar="N|all",
        rich_help_panel=DATA_PANEL,
        help="Number of samples to use, chosen by the seed if there are more.",
    ),
]
InputShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME:SIZES",
        rich_help_panel=DATA_PANEL,
        help="Sizes that the model leaves open, without the batch axis, such as "
        "x:3,224,224; repeatable.",
    ),
]
BatchAxisOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=AXIS",
        rich_help_panel=DATA_PANEL,
        help="The axis along which an input's samples lie, the first being 0; none if it is the "
        "same for all samples; repeatable. [dim]\\[default: the one named after the batch, else "
        "the first][/dim]",
    ),
]
FeedOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        rich_help_panel=DATA_PANEL,
        help="What an input takes whatever the samples are: a number, true or false, or a list, "
        "such as gain=2 or sizes=224,224; repeatable.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Options that choose samples and say how they are read."""

    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            "-d",
            metavar="PATH",
            rich_help_panel=DATA_PANEL,
            help="Samples: a file, a folder (searched recursively), a quoted glob, or @FILE for a "
            "list of paths (@- on stdin, as find -print0 writes it); repeatable. Pictures "
            "(JPEG, PNG, WebP, AVIF, HEIC, GIF, JPEG 2000, BMP, TIFF, PPM; also in .tar shards and "
            ".parquet files), arrays (.npy, .npz and .safetensors keyed by the model's input "
            "names, tensors in a .pt file), or token ids (.txt, .jsonl; one sample per line).",
        ),
    ]
    samples: SamplesOption = "128"
    preset: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_presets,
            metavar="NAME",
            rich_help_panel=DATA_PANEL,
            help=f"A data set's usual mean and std: {', '.join(PRESETS)}.",
        ),
    ] = None
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="M[,M...]",
            rich_help_panel=DATA_PANEL,
            help="Mean subtracted from the samples (pixels in \\[0, 1], arrays as they are): "
            "one number, or one per channel. [dim]\\[default: 0][/dim]",
        ),
    ] = None
    std: Annotated[
        str | None,
        typer.Option(
            metavar="S[,S...]",
            rich_help_panel=DATA_PANEL,
            help="Standard deviation that the samples are then divided by. [dim]\\[default: "
            "1][/dim]",
        ),
    ] = None
    resize: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=DATA_PANEL,
            help="Resize pictures first: the shorter side in pixels, or HEIGHTxWIDTH. "
            "[dim]\\[default: just large enough for the model's input][/dim]",
        ),
    ] = None
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=DATA_PANEL,
            help="Then crop the centre: pixels, or HEIGHTxWIDTH. [dim]\\[default: the model's "
            "input size][/dim]",
        ),
    ] = None
    input_shape: InputShapeOption = None
    batch_axis: BatchAxisOption = None
    feed: FeedOption = None
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            rich_help_panel=DATA_PANEL,
            help="Refuse pictures that can't be read instead of skipping them.",
        ),
    ] = False

    def options(self, seed: int, leave_out: tuple[Path, ...]) -> SampleOptions:
        """Return them as a record.

        Args:
            seed: which samples are taken where there are more.
            leave_out: files that are outputs, not samples.

        Raises:
            UsageError: an option's text can't be parsed.
        """
        means, stds = normalisation(self.preset, self.mean, self.std)
        return SampleOptions(
            data=tuple(self.data),
            count=parse_samples(self.samples),
            seed=seed,
            mean=means,
            std=stds,
            resize=parse_size(self.resize, "--resize") if self.resize is not None else None,
            crop=parse_size(self.crop, "--crop") if self.crop is not None else None,
            input_shapes=parse_input_shapes(self.input_shape or ()),
            batch_axes=parse_batch_axes(self.batch_axis or ()),
            feeds=parse_feeds(self.feed or ()),
            strict=self.strict,
            leave_out=leave_out,
        )
