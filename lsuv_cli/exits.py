"""How a command ends: what happened, as one sentence on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import typer

from lsuv_cli.core.errors import ExitCode, LsuvError


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; its argument is the signal's number."""


def exit_with(work: Callable[[], ExitCode]) -> NoReturn:
    """Run a command and leave with the exit code that fits what happened."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _raise_terminated)
    try:
        code: int = work()
    except LsuvError as error:
        code = error.exit_code
        _print_error(str(error))
    except Terminated as error:
        code = 128 + error.args[0]
        _print_error("terminated; nothing was written")
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        _print_error("interrupted; nothing was written")
    except BrokenPipeError:
        # The reader of stdout has gone; so that the interpreter does not complain while it ends:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OUTPUT
    raise typer.Exit(int(code))


def run_app(app: typer.Typer) -> int:
    """Run a Typer application; what it finds wrong with the command line is one sentence too.

    Returns:
        The exit code.
    """
    try:
        code = app(prog_name="lsuv", standalone_mode=False)
    except typer.TyperException as error:
        # Without arguments the help has been printed already, and nothing is left to say.
        if error.format_message():
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "lsuv"
            message = error.format_message().rstrip(".").replace("Value error, ", "")
            _print_error(f"{message[:1].lower()}{message[1:]}; see {command} --help")
        return error.exit_code
    return code or 0


def _print_error(text: str) -> None:
    from lsuv_cli.console import print_error

    print_error(text)


def _raise_terminated(signum: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(signum)
