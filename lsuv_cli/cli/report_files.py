"""The files of `--report` and `--plot`: checked before the work, written after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lsuv_cli.core.errors import OutputError, UsageError
from lsuv_cli.report.outputs import PLOT, REPORT, find_output
from lsuv_cli.weights.atomic_files import replacing_file
from lsuv_cli.weights.output_checks import check_output, refuse_overwriting

if TYPE_CHECKING:
    from lsuv_cli.report.page import Page


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files of `--report` and `--plot`.

    Attributes:
        report: the file of `--report`; None for none.
        plot: the file of `--plot`; None for none.
        force: replace existing files.
    """

    report: Path | None = None
    plot: Path | None = None
    force: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that were asked for."""
        return tuple(self.by_option().values())

    def by_option(self) -> dict[str, Path]:
        """Return the files that were asked for, by option."""
        given = {REPORT: self.report, PLOT: self.plot}
        return {option: path for option, path in given.items() if path is not None}

    def check(self, outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
        """Refuse files that can't be written, before any work is done.

        Args:
            outputs: other files that the command writes, by option.
            inputs: files that it reads, by their role; None for what was not given.

        Raises:
            UsageError: no format has a file's suffix, or two outputs are the same file.
            OutputError: a file can't be written.
        """
        for option, path in self.by_option().items():
            find_output(option, path)
        seen = {path.resolve(): option for option, path in outputs.items() if path is not None}
        for option, path in self.by_option().items():
            if other := seen.get(path.resolve()):
                raise UsageError(f"{other} and {option} are the same file; give two")
            seen[path.resolve()] = option
            for role, given in inputs.items():
                refuse_overwriting(path, role, [] if given is None else [given])
            check_output(path, force=self.force)

    def write(self, make_page: Callable[[], Page], done: str) -> None:
        """Write the files that were asked for, each whole or not at all.

        Args:
            make_page: returns what is to be written; called only if a file was asked for.
            done: what has been done already, for the error's text.

        Raises:
            OutputError: a file can't be written.
        """
        if not self.paths:
            return
        try:
            page = make_page()
            for option, path in self.by_option().items():
                with replacing_file(path, force=self.force) as (file, _):
                    find_output(option, path).write(page, file)
        except OutputError as error:
            raise OutputError(f"{error}; {done}") from None
        except OSError as error:
            raise OutputError(f"the report can't be written: {error.strerror}; {done}") from None
