"""Options for what is written and shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lsuv_cli.cli.completion import complete_names
from lsuv_cli.cli.options.panels import OUTPUT_PANEL
from lsuv_cli.cli.report_files import ReportFiles
from lsuv_cli.core.choices import AUTO_NAMES
from lsuv_cli.core.errors import UsageError
from lsuv_cli.names.exporters import EXPORTERS, names_words
from lsuv_cli.report.outputs import PLOT, REPORT, help_text

FRAMEWORKS = " or ".join(exporter.framework for exporter in EXPORTERS)


def _check_names(word: str) -> str:
    if word not in names_words():
        known = ", ".join(f"'{one}'" for one in names_words())
        raise typer.BadParameter(f"'{word}' is not one of {known}.")
    return word


NamesOption = Annotated[
    str,
    typer.Option(
        parser=_check_names,
        metavar=f"<{'|'.join(names_words())}>",
        autocompletion=complete_names,
        rich_help_panel=OUTPUT_PANEL,
        help="Names in the written file: the ONNX file's, or those of the "
        f"{FRAMEWORKS} model it was exported from; auto: the latter if such an exporter wrote it. "
        "init refuses a file of PyTorch's that has lost them.",
    ),
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", "-f", rich_help_panel=OUTPUT_PANEL, help="Replace existing files."),
]
QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", rich_help_panel=OUTPUT_PANEL, help="Print errors only."),
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


@dataclass(frozen=True, kw_only=True)
class NameFlags:
    """Names of the tensors of a file of weights."""

    names: NamesOption = AUTO_NAMES
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=OUTPUT_PANEL,
            help="A checkpoint (.safetensors, .pt) whose names and shapes the written file must "
            "match; it tells the second names of tied weights, which of TorchScript's buffers to "
            "write, and the paths of a Keras model's variables.",
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """Return them as fields of `WorkOptions`."""
        return {"names": self.names, "like": self.like}


@dataclass(frozen=True, kw_only=True)
class ReportFlags:
    """Files of the report."""

    report: ReportOption = None
    plot: PlotOption = None
    force: ForceOption = False

    @property
    def files(self) -> ReportFiles:
        """The files of the report."""
        return ReportFiles(self.report, self.plot, self.force)


@dataclass(frozen=True, kw_only=True)
class ScreenFlags:
    """Options for the screen: JSON, quiet, verbose."""

    json_output: Annotated[
        bool,
        typer.Option("--json", rich_help_panel=OUTPUT_PANEL, help="Print the report as JSON."),
    ] = False
    quiet: QuietOption = False
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            rich_help_panel=OUTPUT_PANEL,
            help="Also print the time of each stage.",
        ),
    ] = False

    def check(self) -> None:
        """Refuse a contradiction.

        Raises:
            UsageError: quiet and verbose.
        """
        if self.quiet and self.verbose:
            raise UsageError("--quiet and --verbose contradict each other")
