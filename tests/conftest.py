"""Fixtures of all tests: sample models, real images, the installed command and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from support.command import COMMAND, Run
from support.paths import SAMPLE_MODELS
from support.processes import Forks, Processes
from support.tracer import untraced

# The commands under test inherit what is ignored here, as Ctrl-C is where a shell's & started this.
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(number) is signal.SIG_IGN:
        is_interrupt = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _tracer(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measures no coverage of a test that covers nothing new."""
    is_new = request.node.get_closest_marker("untraced") is None
    with nullcontext() if is_new else untraced():
        yield


@pytest.fixture(scope="session")
def sample_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds a sample model once a session, by its name, with the project's own script."""
    folder = tmp_path_factory.mktemp("models")

    def build(name: str) -> Path:
        path = folder / f"{name}.onnx"
        if not path.exists():
            script = SAMPLE_MODELS / "build.py"
            subprocess.run([sys.executable, script, name, "--out", folder], check=True)
        return path

    return build


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample images: the folders `photos` and `digits`."""
    folder = tmp_path_factory.mktemp("images")
    subprocess.run([sys.executable, SAMPLE_MODELS / "images.py", "--out", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def quick_exporter() -> Iterator[None]:
    """Has PyTorch's newer exporter make its table of operators once: half the time of an export."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from support.roads import registry

    with mock.patch.object(ONNXRegistry, "from_torchlib", staticmethod(registry)):
        yield


@pytest.fixture(scope="session")
def command_forks() -> Iterator[Forks]:
    """Starts Python processes that have imported what the commands import, but not torch."""
    jobs = (f"lsuv_cli.jobs.{name}" for name in ("init", "inspect", "verify", "compare", "apply"))
    with Forks("lsuv_cli.cli.app", "typer.rich_utils", "onnxruntime", *jobs) as forks:
        yield forks


@pytest.fixture
def lsuv(command_forks: Forks, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the command in an empty folder, without a terminal.

    It is forked from a process that has imported its modules; the installed command itself is
    started where a test gives an environment, standard input or the like.
    """

    def run(
        *arguments: object, cwd: Path = tmp_path, env: dict[str, str] | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        if env is None and not more:
            streams = tmp_path_factory.mktemp("streams")
            stdout, stderr = streams / "stdout", streams / "stderr"
            stdout.touch()
            stderr.touch()
            words = list(map(str, arguments))
            process = command_forks.start(
                ["-m", "lsuv_cli", *words],
                cwd=str(cwd),
                environ={**os.environ, "COLUMNS": "100"},
                stdout=str(stdout),
                stderr=str(stderr),
            )
            code = process.wait(300)
            return subprocess.CompletedProcess(words, code, stdout.read_text(), stderr.read_text())
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "COLUMNS": "100", **(env or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **more,
        )
        return done

    return run


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Starts Python processes with torch imported already."""
    with Forks("onnx", "torch.distributed.launcher.api", "typer") as forks:
        yield forks


@pytest.fixture
def processes(
    forks: Forks, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    """Starts processes in a folder with nothing but `tmp`, for their temporary files."""
    (tmp_path / "tmp").mkdir()
    prints = tmp_path_factory.mktemp("prints")
    with Processes(forks, tmp_path, prints, TMPDIR=str(tmp_path / "tmp")) as processes:
        yield processes


@pytest.fixture
def forked(processes: Processes) -> Run:
    """Runs the command in an empty folder, in a Python that has imported torch."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        number = len(processes.started)
        processes.fork("-m", "lsuv_cli", *arguments, COLUMNS=100)
        code = processes.started[number].wait(300)
        stdout, stderr = processes.stdout_of(number), processes.stderr_of(number)
        return subprocess.CompletedProcess([], code, stdout, stderr)

    return run
