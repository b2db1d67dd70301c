"""`-` and `@-`: models, lists of samples and weights through pipes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import COMMAND, Run
from support.small_models import save_model_and_data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model_and_data(tmp_path)


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_model_in_weights_out(folder: Path, lsuv: Run) -> None:
    assert lsuv("init", "m.onnx", "-d", "data", "-o", "w.safetensors").returncode == 0
    expected = (folder / "w.safetensors").read_bytes()
    done = shell("cat m.onnx | lsuv init - --data data --out -", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected
    assert b"wrote to stdout" in done.stderr
    assert {path.name for path in folder.iterdir()} == {"m.onnx", "data", "w.safetensors"}


@pytest.mark.parametrize(
    "listing", ["find data -name '*.npy' -print0", "find data -name '*.npy'", "echo data"]
)
def test_paths_from_stdin(folder: Path, lsuv: Run, listing: str) -> None:
    lsuv("init", "m.onnx", "-d", "data", "-o", "w.safetensors")
    done = shell(f"{listing} | lsuv init m.onnx --data @- --out -", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (folder / "w.safetensors").read_bytes()


def test_a_list_in_a_file(folder: Path, lsuv: Run) -> None:
    (folder / "list.txt").write_text("data/with space 0.npy\r\ndata/with space 2.npy\n\n")
    done = lsuv("init", "m.onnx", "--data", "@list.txt", "--out", "w", "--json")
    assert json.loads(done.stdout)["samples"]["used"] == 18
    (folder / "list.txt").write_text("data/missing.npy\n")
    done = lsuv("init", "m.onnx", "--data", "@list.txt", "--out", "new")
    assert done.returncode == 3
    assert "data/missing.npy" in done.stderr
    done = lsuv("init", "m.onnx", "--data", "@nothing", "--out", "new")
    assert done.returncode == 3
    assert done.stderr.count("error:") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("init - --data @- --out w", "both want stdin"),
        ("init m.onnx --data data --out - --json", "--json"),
        ("init m.onnx --data data --out - --max-shard-size 1MB", "--max-shard-size"),
        ("init m.onnx --data data --out w --out-model -", "--out-model"),
        ("apply - m.onnx --out -", "only init writes to stdout"),
    ],
)
def test_contradictions(folder: Path, arguments: str, says: str) -> None:
    done = shell(f"cat m.onnx | lsuv {arguments}", folder)
    assert (done.returncode, done.stdout) == (2, b"")
    assert says in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert not (folder / "w").exists()
    assert not (folder / "-").exists()


def test_nothing_comes_of_a_broken_model(folder: Path) -> None:
    done = shell("head -c 40 m.onnx | lsuv init - --data data --out -", folder)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"<stdin>" in done.stderr
    done = shell("lsuv init - --data data --out - < /dev/null", folder)
    assert (done.returncode, done.stdout) == (3, b"")


def test_a_reader_that_goes_away_is_no_news(folder: Path) -> None:
    done = shell("lsuv init m.onnx --data data --out - -q | head -c 1", folder)
    assert done.stdout[:1] != b""
    assert done.stderr == b""
    done = shell("lsuv inspect m.onnx | head -n 1; lsuv inspect - < m.onnx", folder)
    assert done.stderr == b""
    assert b"fc2" in done.stdout


def beside_a_terminal(stream: str, arguments: str, folder: Path) -> tuple[int, str, bytes]:
    """Run with one stream on a terminal; the exit code, stderr and what the terminal was shown."""
    parent, child = pty.openpty()
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, stream: child}
    done = subprocess.run(
        [COMMAND, *arguments.split()],
        cwd=folder,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        **streams,  # type: ignore[call-overload]
    )
    os.close(child)
    try:
        shown = os.read(parent, 4096)
    except OSError:  # nothing, and the other end is closed
        shown = b""
    os.close(parent)
    assert not done.stdout
    return done.returncode, done.stderr.decode(), shown


@pytest.mark.parametrize(
    ("stream", "arguments", "says"),
    [
        ("stdin", "init - --data data --out w", "the model - reads stdin"),
        ("stdin", "init m.onnx --data @- --out w", "--data @- reads stdin"),
        ("stdin", "inspect -", "the model - reads stdin"),
        ("stdout", "init m.onnx --data data --out -", "--out - writes to stdout"),
    ],
)
def test_a_terminal_is_no_pipe(folder: Path, stream: str, arguments: str, says: str) -> None:
    expected = f"error: {says}, which is a terminal; give a file, or a pipe\n"
    assert beside_a_terminal(stream, arguments, folder) == (2, expected, b"")
    assert not (folder / "w").exists()


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("init - --data data --out w <&-", 2, "the model - reads stdin, which is closed; give"),
        ("verify m.onnx --data @- <&-", 2, "--data @- reads stdin, which is closed; give"),
        ("init m.onnx --data data --out - >&-", 5, "--out - writes to stdout, which is closed"),
        ("inspect m.onnx >&-", 5, "the report can't be written to stdout: stdout is closed"),
    ],
)
def test_closed_streams(folder: Path, command: str, code: int, says: str) -> None:
    done = shell(f"lsuv {command}", folder)
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode().startswith(f"error: {says}")
    assert done.stderr.count(b"\n") == 1
    assert {path.name for path in folder.iterdir()} == {"m.onnx", "data"}


def test_streams_that_are_not_needed_may_be_closed(folder: Path) -> None:
    done = shell("lsuv init m.onnx --data data --out - <&- 2>&-", folder)
    assert done.returncode == 0
    again = shell("lsuv init m.onnx --data data --out w <&- >&- 2>&-", folder)
    assert (again.returncode, again.stdout, again.stderr) == (0, b"", b"")
    assert (folder / "w").read_bytes() == done.stdout


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library prints past Python would go into it."""
    script = """if True:
        import contextlib, os, sys
        from lsuv_cli.cli.app import main
        sys.argv[1:] = ["--version"]
        with contextlib.suppress(SystemExit):
            main()
        with open("found", "w") as file:
            file.write(f"{[os.readlink(f'/proc/self/fd/{n}') for n in range(3)]}")
    """
    subprocess.run(
        ["bash", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, script],
        cwd=tmp_path,
        check=True,
    )
    assert (tmp_path / "found").read_text() == f"{[os.devnull] * 3}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("init - --data data --out w", "the model - reads stdin"),
        ("init m.onnx --data @- --out w", "--data @- reads stdin"),
        ("init m.onnx --data data --out -", "--out - writes to stdout"),
    ],
)
def test_several_processes_share_no_pipe(
    folder: Path, lsuv: Run, arguments: str, says: str
) -> None:
    launched = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    for rank, expected in (
        ("0", f"error: {says}, which 2 processes can't share; give a file"),
        ("1", ""),
    ):
        done = lsuv(*arguments.split(), env={**launched, "RANK": rank, "LOCAL_RANK": rank})
        assert (done.returncode, done.stdout, done.stderr.strip()) == (2, "", expected)
    assert not (folder / "w").exists()
