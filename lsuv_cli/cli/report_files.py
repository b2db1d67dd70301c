"""The files that a report goes to: refused before the work, written after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lsuv_cli.core.errors import OutputError, UsageError
from lsuv_cli.report.page import Page
from lsuv_cli.weights.output import check_output, refuse_overwriting, replacing_file

PAGE_KINDS = (".html", ".htm")
PLOT_KINDS = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where the page and the plot go.

    Attributes:
        page: the HTML file; None for none.
        plot: the picture; None for none.
        force: replace existing files.
    """

    page: Path | None = None
    plot: Path | None = None
    force: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that were asked for."""
        return tuple(self._by_option().values())

    def check(self, outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
        """Refuse files that can't be written, before any work is done.

        Args:
            outputs: what the command writes besides, by option.
            inputs: files that it reads, by what they are; None for what was not given.

        Raises:
            UsageError: a name's ending is no known one, or two outputs are the same file.
            OutputError: a file can't be written.
        """
        _check_kind("--report", self.page, PAGE_KINDS)
        _check_kind("--plot", self.plot, PLOT_KINDS)
        seen = {path.resolve(): option for option, path in outputs.items() if path is not None}
        for option, path in self._by_option().items():
            if other := seen.get(path.resolve()):
                raise UsageError(f"{other} and {option} are the same file; give two")
            seen[path.resolve()] = option
            for role, given in inputs.items():
                refuse_overwriting(path, role, [] if given is None else [given])
            check_output(path, force=self.force)

    def write(self, make_page: Callable[[], Page], done: str) -> None:
        """Write what was asked for, each file whole or not at all.

        Args:
            make_page: gives what is to be shown; called only if something is.
            done: what has been done already, for the error's text.

        Raises:
            OutputError: a file can't be written.
        """
        if not self.paths:
            return
        try:
            page = make_page()
            if self.page is not None:
                # Imported here, since only who asks for a report is to wait for Matplotlib.
                from lsuv_cli.report.html import render_page

                with replacing_file(self.page, force=self.force) as (file, _):
                    file.write(render_page(page).encode())
            if self.plot is not None:
                from lsuv_cli.report.plot import save_chart

                with replacing_file(self.plot, force=self.force) as (file, _):
                    save_chart(page.charts[0], file, self.plot.suffix.lower()[1:])
        except OutputError as error:
            raise OutputError(f"{error}; {done}") from None
        except OSError as error:
            raise OutputError(f"the report can't be written: {error.strerror}; {done}") from None

    def _by_option(self) -> dict[str, Path]:
        given = {"--report": self.page, "--plot": self.plot}
        return {option: path for option, path in given.items() if path is not None}


def _check_kind(option: str, path: Path | None, kinds: tuple[str, ...]) -> None:
    if path is not None and path.suffix.lower() not in kinds:
        raise UsageError(f"{option} {path}: the name must end with {', '.join(kinds)}")
