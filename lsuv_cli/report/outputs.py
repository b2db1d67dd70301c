"""The formats of `--report` and `--plot`; a new one is a file in this folder, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lsuv_cli.core.errors import UsageError

if TYPE_CHECKING:
    from lsuv_cli.report.page import Page

REPORT, PLOT = "--report", "--plot"


@dataclass(frozen=True, slots=True)
class Output:
    r"""A format in which `lsuv init`, `verify` and `compare` write their page.

    All three give the same neutral `Page`, so that a format needs to know none of them. A cell's
    `text` is what people read; its `value` is the number behind it:

    >>> from lsuv_cli.report.columns import Tone, number_column, text_column
    >>> from lsuv_cli.report.page import Page, PageTable, printable
    >>> def write_tabs(page: Page, file: BinaryIO) -> None:
    ...     titles = [column.title for column in page.table.columns]
    ...     rows = [[printable(cell.text) for cell in row] for row in page.table.rows]
    ...     for row in [titles, *rows]:
    ...         file.write(("\t".join(row) + "\n").encode())
    >>> tabs = Output("--report", (".tsv",), "a table of the layers", write_tabs)

    With `tabs` in `OUTPUTS`, `--report layers.tsv` writes such a file:

    >>> from io import BytesIO
    >>> layers = text_column("layer", ["conv1", "conv2"])
    >>> table = PageTable("Layers", (layers, number_column("std", [1.0, 0.25])))
    >>> page = Page("Title", "Summary", Tone.PLAIN, (), table, (), (), (), "lsuv verify m.onnx")
    >>> file = BytesIO()
    >>> tabs.write(page, file)
    >>> print(file.getvalue().decode().replace("\t", " | "), end="")
    layer | std
    conv1 | 1
    conv2 | 0.25

    Attributes:
        option: the option whose file it is, `REPORT` or `PLOT`.
        suffixes: in lower case, the suffixes of names that choose it.
        description: what is written, for the option's help.
        write: writes the page into a file open for writing; raises OSError where it can't. It
            imports heavy libraries itself, so that only who asks for the format waits for them.
    """

    option: str
    suffixes: tuple[str, ...]
    description: str
    write: Callable[[Page, BinaryIO], None]


def _write_html(page: Page, file: BinaryIO) -> None:
    from lsuv_cli.report.html import render_page

    file.write(render_page(page).encode())


def _write_plot(page: Page, file: BinaryIO, *, kind: str) -> None:
    from lsuv_cli.report.plot import save_chart

    save_chart(page.charts[0], file, kind)


WHOLE_PAGE = "a page with the plot, the layers, the options and this command"
FIRST_CHART = "the plot of standard deviations by depth"

OUTPUTS: tuple[Output, ...] = (
    Output(REPORT, (".html", ".htm"), WHOLE_PAGE, _write_html),
    Output(PLOT, (".png",), FIRST_CHART, partial(_write_plot, kind="png")),
    Output(PLOT, (".svg",), FIRST_CHART, partial(_write_plot, kind="svg")),
    Output(PLOT, (".pdf",), FIRST_CHART, partial(_write_plot, kind="pdf")),
)


def find_output(option: str, path: Path) -> Output:
    """Return the format that a file's suffix chooses.

    Args:
        option: `REPORT` or `PLOT`.
        path: the file to be written.

    Raises:
        UsageError: no format of the option has this suffix.
    """
    suffixes: list[str] = []
    for output in OUTPUTS:
        if output.option == option:
            if path.suffix.lower() in output.suffixes:
                return output
            suffixes += output.suffixes
    raise UsageError(f"{option} {path}: the name must end with {', '.join(suffixes)}")


def help_text(option: str) -> str:
    """Return the help of `REPORT` or `PLOT`: what is written, and the suffixes that choose it."""
    suffixes: dict[str, list[str]] = {}
    for output in OUTPUTS:
        if output.option == option:
            suffixes.setdefault(output.description, []).extend(output.suffixes)
    parts = (f"{description} ({', '.join(found)})" for description, found in suffixes.items())
    return f"Also write {', or '.join(parts)}."
