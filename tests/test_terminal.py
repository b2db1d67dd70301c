"""Tables in terminals of any width, and off a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

import onnx
import pytest

from support.command import COMMAND, Run
from support.small_models import save_model_and_data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model_and_data(tmp_path)


LONG = "/stages.{}/blocks.0/" + "attention/projection/" * 8 + "MatMul"


@pytest.fixture
def long_names(folder: Path) -> list[str]:
    """Give the layers of the folder's model names wider than any terminal."""
    model = onnx.load(folder / "m.onnx")
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    for number, node in enumerate(layers):
        node.name = LONG.format(number)
    onnx.save(model, folder / "long.onnx")
    return [node.name for node in layers]


@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_nothing_is_cut_off_a_terminal(
    long_names: list[str], lsuv: Run, variables: dict[str, str]
) -> None:
    table = lsuv("inspect", "long.onnx", env=variables)
    run = lsuv("init", "long.onnx", "--data", "data", "--out", "w", "--force", env=variables)
    for stream in (table.stdout, run.stderr):
        rows = [line.split()[0] for line in stream.splitlines() if "/stages." in line]
        assert rows == long_names
    assert "\x1b[?25" not in run.stderr  # no progress display


@pytest.mark.parametrize("columns", [80, 60, 20])
def test_names_are_folded_in_a_narrow_terminal(
    folder: Path, long_names: list[str], columns: int
) -> None:
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    arguments = [str(COMMAND), "inspect", "long.onnx"]
    kept = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(arguments, cwd=folder, stdout=child, env={**kept, "NO_COLOR": "1"}):
        os.close(child)
        shown = b""
        with suppress(OSError):  # as Linux ends the reading of a terminal
            while part := os.read(parent, 4096):
                shown += part
    os.close(parent)
    lines = re.sub(r"\x1b\[\d*m", "", shown.decode()).replace("\r", "").splitlines()
    heading = next(index for index, line in enumerate(lines) if line.startswith("layer "))
    width = lines[heading].index("op")
    assert "".join(line[:width].strip() for line in lines[heading + 1 :]) == "".join(long_names)
