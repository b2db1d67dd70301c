"""Options that select layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from lsuv_cli.cli.options.panels import LAYERS_PANEL
from lsuv_cli.core.option_texts import parse_targets


@dataclass(frozen=True, kw_only=True)
class LayerFlags:
    """Options that select layers and their targets."""

    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            rich_help_panel=LAYERS_PANEL,
            help="Initialise only layers that match by the name of the layer, its ONNX node, its "
            "weight or its weight's module; repeatable. "
            "[dim]\\[default: all][/dim]",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            rich_help_panel=LAYERS_PANEL,
            help="Leave layers unchanged that match by any of these names; repeatable.",
        ),
    ] = None
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB=STD",
            rich_help_panel=LAYERS_PANEL,
            help="A different target-std for matching layers; repeatable, the last match wins.",
        ),
    ] = None

    def options(self) -> dict[str, Any]:
        """Return them as fields of `WorkOptions`.

        Raises:
            UsageError: an option's text can't be parsed.
        """
        return {
            "include": tuple(self.include or ()),
            "exclude": tuple(self.exclude or ()),
            "targets": parse_targets(self.target or ()),
        }
