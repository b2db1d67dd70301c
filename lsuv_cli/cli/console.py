"""The only writer to the screen: data to stdout, everything else to stderr."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from lsuv_cli.core.errors import OutputError

# Where there is no terminal there is no width to keep to either.
PLAIN_WIDTH = 160

COPIED_BYTES = 1 << 20


class Verbosity(IntEnum):
    """Amount of output on the screen."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class _Stderr(Console):
    """stderr; silent from when its reader has gone, as `head` does, while the work goes on."""

    def on_broken_pipe(self) -> None:
        """Write nothing more, and let Python's last flush go nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


@contextmanager
def _writing() -> Iterator[None]:
    """Turn a failed write to stderr into an OutputError; `_Stderr` handles broken pipes."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"can't write to stderr: {error.strerror or error}; --quiet writes errors only"
        ) from None


class Screen:
    """stderr, with a progress display where it is a terminal; a context manager."""

    def __init__(self, verbosity: Verbosity) -> None:
        self.verbosity = verbosity
        self.console = _Stderr(stderr=True, highlight=False, soft_wrap=True)
        _make_plain(self.console)
        self.started = time.monotonic()
        self._stage: str | None = None
        self._stage_started = self.started
        self._task: TaskID | None = None
        self._progress: Progress | None = None
        if self.console.file.isatty() and self.console.is_terminal and verbosity > Verbosity.QUIET:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._progress is not None:
            with _writing():
                self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._progress is not None:
                with _writing():
                    self._progress.stop()
            self._end_stage()
        except OutputError:
            if error is None:  # which else would be lost
                raise

    @property
    def seconds(self) -> float:
        """Seconds since the screen was made."""
        return time.monotonic() - self.started

    def stage(self, title: str, total: int | None = None) -> None:
        """Begin a stage of the work."""
        self._end_stage()
        self._stage, self._stage_started = title, time.monotonic()
        if self._progress is not None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(title, total=total)

    def advance(self, done: int, total: int) -> None:
        """Show how far the stage has come."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)

    def detail(self, text: str) -> None:
        """Say something for whoever asked for more."""
        if self.verbosity >= Verbosity.VERBOSE:
            self._say(text, "dim")

    def note(self, text: str) -> None:
        """Say something worth knowing."""
        if self.verbosity >= Verbosity.NORMAL:
            self._say(text)

    def warn(self, text: str) -> None:
        """Say something the user may want to change."""
        if self.verbosity >= Verbosity.NORMAL:
            self._say(f"warning: {text}", "yellow")

    def show(self, renderable: RenderableType) -> None:
        """Show a table."""
        if self.verbosity >= Verbosity.NORMAL:
            with _writing():
                self.console.print(renderable)

    def lines(self, lines: Iterable[str]) -> None:
        """Show lines of text."""
        for line in lines:
            self.note(line)

    def _end_stage(self) -> None:
        if self._stage is not None and self.verbosity >= Verbosity.VERBOSE:
            self._say(f"{self._stage}: {time.monotonic() - self._stage_started:.2f} s", "dim")
        self._stage = None

    def _say(self, text: str, style: str | None = None) -> None:
        with _writing():
            self.console.print(text, style=style, markup=False)


def _make_plain(console: Console) -> None:
    """Take the narrow width from a console that is no terminal, and colour unless it is asked for.

    FORCE_COLOR makes Rich take anything for a terminal.
    """
    if not console.file.isatty():
        console.width = PLAIN_WIDTH
    console.no_color = console.no_color or not console.is_terminal


def as_plain_text(renderable: RenderableType) -> str:
    """Return a table as text for stdout: in colour and as wide as the terminal, if it is one."""
    console = Console(highlight=False, soft_wrap=True)
    _make_plain(console)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get().rstrip("\n")


def print_error(text: str) -> None:
    """Say on stderr what went wrong; even when quiet. Where that can't be, the exit code does."""
    with suppress(OSError):
        _Stderr(stderr=True, highlight=False, soft_wrap=True).print(
            f"error: {text}", style="bold red", markup=False
        )


def print_data(text: str) -> None:
    """Write data to stdout.

    Raises:
        OSError: it can't be written.
    """
    if sys.stdout is None:
        raise OSError("stdout is closed")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def copy_to_stdout(file: Path) -> None:
    """Write a file's bytes to stdout.

    Raises:
        OSError: they can't be written.
    """
    with file.open("rb") as content:
        shutil.copyfileobj(content, sys.stdout.buffer, COPIED_BYTES)
    sys.stdout.buffer.flush()
