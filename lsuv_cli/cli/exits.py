"""The end of a command: one sentence on stderr about what happened, and an exit code."""

from __future__ import annotations

import errno
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any, NoReturn, get_type_hints

import typer

from lsuv_cli.core.errors import ExitCode, LsuvError, Terminated, UsageError
from lsuv_cli.processes.run import Run

INTERRUPTIONS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]

AGAIN_SECONDS = 0.01
SHOWN = 60


def exit_with(work: Callable[[Run], ExitCode]) -> NoReturn:
    """Run a command and leave with the exit code that fits what happened.

    Of several processes in a run only one says what went wrong.

    Args:
        work: the command; it is given the run, to join the other processes in it.
    """
    for number in INTERRUPTIONS:
        # nohup and a shell's & have a signal ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _interrupt_again
    with Run(os.environ) as run:
        try:
            code: int = _done(work, run)
            # What is done is done; Python would end by the signal's default action from here on.
            _ignore_interruptions()
        except (LsuvError, MemoryError, KeyboardInterrupt) as error:
            _ignore_interruptions()
            code, text = _ending(error)
            if run.reports(error):
                _print_error(run.prefix + text)
        except BrokenPipeError:
            code = ExitCode.OUTPUT  # the reader of stdout has gone
    raise typer.Exit(int(code))


def with_exit_code(command: Callable[..., ExitCode]) -> Callable[..., NoReturn]:
    """Have a command end the process with the exit code that it returns; see `exit_with`.

    Args:
        command: a function whose first parameter is the run, which is not an option.
    """

    @wraps(command)
    def ending(**options: Any) -> NoReturn:
        exit_with(lambda run: command(run, **options))

    # The signature that Typer reads, without the run.
    kinds = get_type_hints(command, include_extras=True)
    _run, *parameters = inspect.signature(command).parameters.values()
    parameters = [one.replace(annotation=kinds[one.name]) for one in parameters]
    ending.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    ending.__annotations__ = {one.name: one.annotation for one in parameters}
    return ending


def _done(work: Callable[[Run], ExitCode], run: Run) -> ExitCode:
    """Run the command; explain the failure if the current folder has been deleted."""
    _settle_temporary_folder()
    try:
        return work(run)
    except FileNotFoundError:
        try:
            Path.cwd()
        except OSError:
            raise UsageError(
                "the current folder has been deleted; change to another, or give absolute paths"
            ) from None
        raise
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise UsageError(f"a path is too long: {str(error.filename)[:SHOWN]}...") from None


def _settle_temporary_folder() -> None:
    """Choose the folder for temporary files, uninterrupted.

    Python tries the folders with a file, and a signal just after its creation would leave it there.
    """
    import tempfile

    with _uninterrupted(), suppress(OSError):  # who needs it says so
        tempfile.gettempdir()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold signals back until the work inside is done; Windows can't."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)


def refuse(error: LsuvError) -> NoReturn:
    """Leave as a command does that an error has ended."""

    def work(_run: Run) -> ExitCode:
        raise error

    exit_with(work)


def reserve_standard_streams() -> None:
    """Open on /dev/null what is closed of stdin, stdout and stderr.

    The next file that is opened would take its number, and what a library prints would go into it.
    Python has set `sys.stdout` and the like to None by now, so that it still shows.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def drop_what_cannot_be_written() -> None:
    """Empty the buffers of stdout and stderr, where they can't be written into /dev/null.

    Otherwise the interpreter tries again as it ends, complains, and exits with a code of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def run_app(app: typer.Typer) -> int:
    """Run a Typer application; what it finds wrong with the command line is one sentence too.

    Returns:
        The exit code.
    """
    try:
        code = app(prog_name="lsuv", standalone_mode=False)
    except typer.TyperException as error:
        # Without arguments the help has been printed already, and nothing is left to say.
        if error.format_message() and Run(os.environ).reports(error):
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "lsuv"
            message = error.format_message().rstrip(".").replace("Value error, ", "")
            joint = " See" if message.endswith("?") else "; see"
            _print_error(f"{message[:1].lower()}{message[1:]}{joint} {command} --help")
        return error.exit_code
    except OSError as error:
        # A command answers for its own; before it begins only the help and the like are written.
        if any(frame.f_code is exit_with.__code__ for frame, _ in walk_tb(error.__traceback__)):
            raise
        _print_error(f"can't write to stdout: {error.strerror or error}")
        return ExitCode.OUTPUT
    except SystemExit as error:
        # So Rich and Typer leave where the reader of stdout has gone, with the exit code of a bug.
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return ExitCode.OUTPUT
    return code or 0


def print_note(text: str) -> None:
    """Say something worth knowing on stderr, before a command begins."""
    from lsuv_cli.cli.console import Screen, Verbosity

    Screen(Verbosity.NORMAL).note(text)


def _print_error(text: str) -> None:
    from lsuv_cli.cli.console import print_error

    print_error(text)


def _ending(error: LsuvError | MemoryError | KeyboardInterrupt) -> tuple[int, str]:
    """The exit code and the sentence."""
    if isinstance(error, MemoryError):
        reason = f" ({error})" if str(error) else ""
        return ExitCode.UNUSABLE_INPUT, (
            f"out of memory{reason}; reduce --batch-size, or --memory, from which the batch size "
            "follows"
        )
    if isinstance(error, LsuvError):
        return error.exit_code, str(error)
    done = "; ".join(getattr(error, "__notes__", ["nothing was written"]))
    if isinstance(error, Terminated):
        return 128 + error.args[0], f"terminated; {done}"
    return ExitCode.INTERRUPTED, f"interrupted; {done}"


def _interrupt(signum: int, _frame: FrameType | None) -> NoReturn:
    _ignore_interruptions()
    raise KeyboardInterrupt if signum == signal.SIGINT else Terminated(signum)


def _interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Deliver a signal anew that came while an object was destroyed, where nothing can be raised.

    A little later, and not from here, where nothing can be raised either.
    """
    error = unraisable.exc_value
    if not isinstance(error, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = error.args[0] if isinstance(error, Terminated) else signal.SIGINT
    signal.signal(number, _interrupt)
    # There os.kill ends the process at once.
    again = signal.raise_signal if sys.platform == "win32" else partial(os.kill, os.getpid())
    threading.Timer(AGAIN_SECONDS, again, (number,)).start()


def _ignore_interruptions() -> None:
    # A terminal and a launcher send one each; the second must not break into the tidying up.
    for number in INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
