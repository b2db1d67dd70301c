"""Steps shared by the commands that run a model."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lsuv_cli.cli.options.output import ScreenFlags
from lsuv_cli.cli.report_files import ReportFiles
from lsuv_cli.core.errors import OutputError
from lsuv_cli.core.group import Group
from lsuv_cli.core.options import WorkOptions
from lsuv_cli.processes.run import Run

if TYPE_CHECKING:
    from lsuv_cli.cli.console import Screen
    from lsuv_cli.report.page import Page


@contextmanager
def open_run(run: Run, options: WorkOptions, flags: ScreenFlags) -> Iterator[tuple[Screen, Group]]:
    """Open the screen, and join the other processes of the run.

    Args:
        run: the processes of the run.
        options: what the user asked for.
        flags: how much is shown.
    """
    # Imported here, so that --version and --help don't wait for numpy, onnx and ONNX Runtime.
    from lsuv_cli.cli.console import Screen, Verbosity
    from lsuv_cli.runtime.allocator import return_large_blocks

    return_large_blocks()
    verbosity = Verbosity.NORMAL
    if flags.quiet or not run.is_first:
        verbosity = Verbosity.QUIET
    elif flags.verbose:
        verbosity = Verbosity.VERBOSE
    # A few kilobytes of the host's are exchanged; NCCL is for whoever asks for GPUs by name.
    label = options.device if options.device.startswith("cuda") else "cpu"
    with Screen(verbosity) as screen, run.open_group(label, options.timeout) as group:
        yield screen, group


@contextmanager
def telling(done: str) -> Iterator[None]:
    """Have the sentence on a signal tell what has been done already.

    Args:
        done: that.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(done)
        raise


def write_report(
    files: ReportFiles, make_page: Callable[[str], Page], done: str, screen: Screen
) -> None:
    """Write the report and the plot that were asked for, and say where they are.

    Args:
        files: the files to write.
        make_page: makes the page, given the command line.
        done: what the command has done so far, for an error's text.
        screen: shows where the files are.

    Raises:
        OutputError: one can't be written.
    """
    files.write(lambda: make_page(_this_command()), done)
    for option, path in files.by_option().items():
        screen.note(f"the {option.removeprefix('--')} is in {path}")


def _this_command() -> str:
    """The command line, as a shell would take it again."""
    return shlex.join(["lsuv", *sys.argv[1:]])


def print_result(render: Callable[[], str], what_stands: str = "") -> None:
    """Write a command's result to stdout.

    Args:
        render: makes its text.
        what_stands: what has been done all the same, for the error's text.

    Raises:
        OutputError: it can't be written.
    """
    from lsuv_cli.cli.console import print_data

    try:
        print_data(render())
    except BrokenPipeError:
        raise
    except OSError as error:
        also = f"; {what_stands}" if what_stands else ""
        raise OutputError(
            f"the report can't be written to stdout: {error.strerror or error}{also}"
        ) from None
