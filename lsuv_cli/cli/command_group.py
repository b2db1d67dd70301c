"""Typer's command and group, with flags without a type and a hint at `lsuv init`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from lsuv_cli.cli.completion import MODEL_SUFFIXES


class Command(TyperCommand):
    """A command whose flags are shown without a type."""

    def get_params(self, ctx: Any) -> Any:
        """Return the arguments and options."""
        return _without_types(super().get_params(ctx))


class CommandGroup(TyperGroup):
    """The group of commands; suggests `lsuv init MODEL` for `lsuv MODEL`."""

    def get_params(self, ctx: Any) -> Any:
        """Return the arguments and options."""
        return _without_types(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments begin with.

        Raises:
            typer.TyperException: there is none.
        """
        try:
            return super().resolve_command(ctx, args)
        except typer.TyperException as error:
            if args and Path(args[0]).suffix.lower() in MODEL_SUFFIXES:
                given = shlex.join(args)
                error.message = f"no command before the model; write: lsuv init {given}"
            raise


def _without_types(parameters: Any) -> Any:
    """Return parameters of which flags, that take no value, do not show the type of one."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters
