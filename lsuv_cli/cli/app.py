"""The command line: the commands, and how it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from lsuv_cli import __version__
from lsuv_cli.cli.command_group import Command, CommandGroup
from lsuv_cli.cli.commands.apply import apply
from lsuv_cli.cli.commands.compare import compare
from lsuv_cli.cli.commands.init import init
from lsuv_cli.cli.commands.inspect import inspect
from lsuv_cli.cli.commands.verify import verify
from lsuv_cli.cli.config import find_configuration, read_configuration
from lsuv_cli.cli.exits import (
    drop_what_cannot_be_written,
    print_note,
    refuse,
    reserve_standard_streams,
    run_app,
)
from lsuv_cli.core.errors import LsuvError
from lsuv_cli.processes.run import Run


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lsuv {__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version",
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
NoConfigOption = Annotated[bool, typer.Option("--no-config", help="Ignore configuration files.")]


QUIET = frozenset(("-q", "--quiet"))
VERBOSE = frozenset(("-v", "--verbose"))
HELP = frozenset(("-h", "--help"))

app = typer.Typer(
    name="lsuv",
    cls=CommandGroup,
    help="Initialise deep networks from data: layer-sequential unit variance (LSUV).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


@app.callback()
def lsuv(
    context: typer.Context,
    *,
    config: ConfigOption = None,
    no_config: NoConfigOption = False,
    version: VersionOption = False,  # noqa: ARG001 - its callback acts
) -> None:
    """Initialise deep networks from data: layer-sequential unit variance (LSUV)."""
    # A broken configuration file must not block --help, which says what to write in it.
    if context.resilient_parsing or no_config or not HELP.isdisjoint(sys.argv):
        return
    try:
        path = config or find_configuration()
        if path is not None:
            commands = context.command.commands  # type: ignore[attr-defined]
            options = context.default_map = read_configuration(path, commands)
            is_quiet = options.get(context.invoked_subcommand or "", {}).get("quiet", False)
            if not VERBOSE.isdisjoint(sys.argv):
                is_quiet = False
            if Run(os.environ).is_first and QUIET.isdisjoint(sys.argv) and not is_quiet:
                print_note(f"options from {path}")
    except LsuvError as error:
        refuse(error)


EPILOG = (
    "Exit codes: 0 all layers within tolerance; 1 a bug; 2 usage; 3 unusable model or data; "
    "4 written, but some layer is not within tolerance; 5 output can't be written; "
    "6 another process of the run failed or did not answer; "
    "129, 130 and 143: ended by SIGHUP, SIGINT or SIGTERM, no partial files left."
)

for command in (init, inspect, verify, compare, apply):
    app.command(cls=Command, epilog=EPILOG)(command)


def main() -> None:
    """The `lsuv` command."""
    reserve_standard_streams()
    try:
        code = run_app(app)
    except Exception as error:
        error.add_note(f"This is a bug in lsuv {__version__}; please report it.")
        raise
    finally:
        drop_what_cannot_be_written()
    sys.exit(code)
