"""The registry of output formats, and a new format that goes through it."""

from __future__ import annotations

import csv
import doctest
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from lsuv_cli.cli import exits
from lsuv_cli.cli.app import app
from lsuv_cli.core.errors import UsageError
from lsuv_cli.report import outputs
from lsuv_cli.report.page import Page


def test_the_example_in_the_docstring() -> None:
    result = doctest.testmod(outputs)
    assert (result.failed, result.attempted > 5) == (0, True)


def test_a_suffix_chooses_the_format() -> None:
    for output in outputs.OUTPUTS:
        for suffix in output.suffixes:
            path = Path(f"out{suffix.upper()}")
            assert outputs.find_output(output.option, path) is output
    with pytest.raises(UsageError, match=r"--plot p.html: the name must end with \.png, \.svg"):
        outputs.find_output("--plot", Path("p.html"))


def write_csv(page: Page, file: BinaryIO) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(column.title for column in page.table.columns)
    writer.writerows([cell.text for cell in row] for row in page.table.rows)
    file.write(text.getvalue().encode())


CSV = outputs.Output("--report", (".layers",), "a table of the layers", write_csv)


@pytest.mark.parametrize("command", ["init", "verify", "compare"])
def test_a_new_format_is_an_entry(
    command: str,
    sample_models: Callable[[str], Path],
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outputs, "OUTPUTS", (*outputs.OUTPUTS, CSV))
    # What the command does to its own process must not last in this one.
    monkeypatch.setattr(exits, "INTERRUPTIONS", [])
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    arguments = [command, str(sample_models("fitnet1")), "--data", str(images / "photos")]
    arguments += ["--samples", "8", "--tol", "9", "--report", "x.layers", "--quiet"]
    more = {"init": ["--out", "w.safetensors"], "compare": ["--inits", "he", "--no-backward"]}
    monkeypatch.setattr(sys, "argv", ["lsuv", *arguments, *more.get(command, [])])
    assert app(standalone_mode=False) == 0
    with Path("x.layers").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows][:2] == ["conv1", "conv2"]
    column = {"init": "var after", "verify": "std", "compare": "he forward"}[command]
    assert all(float(row[column]) > 0 for row in rows)


def test_the_help_names_every_format(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outputs.help_text("--plot") == (
        "Also write the plot of standard deviations by depth (.png, .svg, .pdf)."
    )
    monkeypatch.setattr(outputs, "OUTPUTS", (*outputs.OUTPUTS, CSV))
    assert outputs.help_text("--report") == (
        "Also write a page with the plot, the layers, the options and this command (.html, .htm), "
        "or a table of the layers (.layers)."
    )
