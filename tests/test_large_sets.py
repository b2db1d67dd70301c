"""More samples than memory holds, as a user meets them: many batches, full disks, lost files."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from safetensors.numpy import load_file

from lsuv_cli.reading.onnx_file import read_model
from support.background import Background
from support.command import UNMEASURED, Run
from support.graphs import random_weight, save_graph
from support.limits import limit_files
from support.pass_stats import pass_stats
from support.refusals import check_refused
from support.sample_files import save_parquet, save_pictures, save_shard
from support.small_models import convolutional, small_model
from support.written_files import check_same_weights, contents

SAMPLES, BATCH, BATCHES = 60, 7, 9
# All but the last, which adds the last layer's bias.
NODES = 18
# A batch's values at a boundary have some 10 kB: of this, a quarter, none of it is kept in memory.
MEMORY = "20KB"
SPILLING = ("--batch-size", BATCH, "--memory", MEMORY, "--spill-dir", "spill")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that takes several parts to sweep, samples, and an empty folder to spill to."""
    (tmp_path / "spill").mkdir()
    convolutional(tmp_path).rename(tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", random_weight(SAMPLES, 3, 4, 4))
    return tmp_path


def init(*arguments: object, data: str = "x.npy", out: str = "out") -> list[object]:
    return ["init", "model.onnx", "--data", data, "--samples", "all", "--out", out, *arguments]


def check_nothing_left(folder: Path, before: dict[Path, bytes]) -> None:
    """No file is new or different, hidden ones included."""
    assert contents(folder) == before
    assert not list((folder / "spill").iterdir())


# Many batches


@pytest.fixture
def whole(lsuv: Run, folder: Path) -> Path:
    """What is written where all samples are one batch."""
    process = lsuv(*init("--verbose", out="whole"), cwd=folder)
    assert process.returncode == 0, process.stderr
    assert len(read_model(folder / "model.onnx")[0].nodes) == NODES + 1
    assert pass_stats(process) == (NODES, 0, 0)
    return folder / "whole"


def test_batches_that_spill(lsuv: Run, folder: Path, whole: Path) -> None:
    process = lsuv(*init(*SPILLING, "--verbose"), cwd=folder)
    assert process.returncode == 0, process.stderr
    executions, repeated, spilled = pass_stats(process)
    assert (executions, repeated) == (BATCHES * NODES, 0)
    assert spilled > 100_000
    check_same_weights(folder / "out", whole)
    assert not list((folder / "spill").iterdir())


def test_a_disk_that_becomes_full(lsuv: Run, folder: Path, whole: Path) -> None:
    """Some of it is spilled, the rest computed again; the output itself still fits."""
    limit = limit_files(40_000)
    process = lsuv(*init(*SPILLING, "--verbose"), cwd=folder, preexec_fn=limit)
    assert process.returncode == 0, process.stderr
    executions, repeated, spilled = pass_stats(process)
    assert repeated > 0
    assert spilled > 0
    assert executions - repeated == BATCHES * NODES
    check_same_weights(folder / "out", whole)
    assert not list((folder / "spill").iterdir())


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system with less room than is left to others."""
    where = folder / "spill"
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=1M", "none", str(where)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield where
    subprocess.run(["umount", str(where)], check=True)


def test_a_small_disk(lsuv: Run, folder: Path, whole: Path, small_disk: Path) -> None:
    """It is known beforehand that nothing fits, and said what that costs."""
    process = lsuv(*init(*SPILLING, "--verbose"), cwd=folder)
    assert process.returncode == 0, process.stderr
    executions, repeated, spilled = pass_stats(process)
    assert spilled == 0
    assert executions - repeated == BATCHES * NODES
    share = f"does {executions / (BATCHES * NODES):.1f} times the work"
    assert share in process.stderr
    assert "raise --memory, or give a larger --spill-dir" in process.stderr
    check_same_weights(folder / "out", whole)
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("line", ["reading the samples", "sweeping, part 2"])
def test_the_spill_folder_is_removed(folder: Path, whole: Path, line: str) -> None:
    """Before the file there is made, and after."""
    run = Background(*init(*SPILLING, "--verbose"), cwd=folder)
    run.wait_for(line)
    (folder / "spill").rmdir()
    process = run.end()
    assert process.returncode == 0, process.stderr
    check_same_weights(folder / "out", whole)
    assert not (folder / "spill").exists()


def test_the_same_command_writes_the_same_bytes(lsuv: Run, folder: Path) -> None:
    for out in ("out", "again"):
        process = lsuv(*init(*SPILLING, out=out), cwd=folder)
        assert process.returncode == 0, process.stderr
    assert (folder / "out").read_bytes() == (folder / "again").read_bytes()


# Samples that go, or change, between two readings


def pictures(folder: Path) -> Path:
    return save_pictures(folder / "data", SAMPLES) / "33.png"


def array(folder: Path) -> Path:
    np.save(folder / "data.npy", random_weight(SAMPLES, 3, 8, 8))
    return folder / "data.npy"


def shard(folder: Path) -> Path:
    return save_shard(folder, SAMPLES)


def parquet(folder: Path) -> Path:
    return save_parquet(folder, SAMPLES)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("change", [Path.unlink, lengthen])
@pytest.mark.parametrize("arrange", [pictures, array, shard, parquet])
def test_a_sample_that_changes(
    folder: Path, arrange: Callable[[Path], Path], change: Callable[[Path], None]
) -> None:
    small_model(folder / "model.onnx")
    path = arrange(folder)
    data = "data" if arrange is pictures else path.name
    before = contents(folder)
    arguments = init("--batch-size", 1, "--memory", "1KB", "--spill-dir", "spill", data=data)
    run = Background(*arguments, "--verbose", cwd=folder)
    # Everything is read again by the sweep, and once more when the written file is verified.
    run.wait_for("measuring the weights as they are")
    change(path)
    error = check_refused(run.end(), 3, str(path.relative_to(folder)))
    assert ("No such file" if change is Path.unlink else "has changed") in error
    changed = {path: path.read_bytes()} if path.exists() else {}
    before.pop(path)
    check_nothing_left(folder, before | changed)


# Memory


def test_too_little_memory_for_a_batch(lsuv: Run, folder: Path) -> None:
    """A value of 3.3 GB, where the process may have 3 in all."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Resize", ["c", "", "factors"], ["t"], mode="nearest"),
        helper.make_node("GlobalAveragePool", ["t"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["y"]),
    ]
    weights = {
        "w": random_weight(4, 3, 1, 1),
        "factors": np.array([1, 1, 900, 900], np.float32),
        "v": random_weight(4, 5),
    }
    save_graph(folder / "model.onnx", nodes, weights, ("n", 3, 4, 4))
    np.save(folder / "x.npy", random_weight(16, 3, 4, 4))
    before = contents(folder)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    limited = {"cwd": folder, "preexec_fn": limit, "env": {"OPENBLAS_NUM_THREADS": "1"}}
    process = lsuv(*init("--batch-size", 16, "--threads", 1, "--no-verify"), **limited)
    error = check_refused(process, 3, "reduce --batch-size")
    assert "or --memory" in error
    check_nothing_left(folder, before)
    process = lsuv(*init("--memory", "1GB", "--threads", 1, "--no-verify"), **limited)
    assert process.returncode == 0, process.stderr


def test_too_little_memory_for_the_samples(lsuv: Run, folder: Path) -> None:
    """A batch of 3 GB of pictures, where the process may have 2 in all."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    shape = ("n", 3, 2048, 2048)
    save_graph(folder / "model.onnx", nodes, {"w": random_weight(3, 5)}, shape)
    save_pictures(folder / "data", SAMPLES)
    before = contents(folder)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    arguments = init("--batch-size", SAMPLES, "--threads", 1, data="data")
    limited = {"cwd": folder, "preexec_fn": limit, "env": {"OPENBLAS_NUM_THREADS": "1"}}
    error = check_refused(lsuv(*arguments, **limited), 3, "out of memory")
    assert "reduce --batch-size" in error
    check_nothing_left(folder, before)


# Interruptions

# Each stage, and the one that reports its time when it begins.
STAGES = {
    "reading the samples": "reading the model",
    "measuring the weights as they are": "reading the samples",
    "sweeping, part 1 of 5": "measuring the weights as they are",
    "sweeping, part 4 of 5": "sweeping, part 3 of 5",
    "writing": "sweeping, part 5 of 5",
    "verifying the written file": "writing",
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", STAGES)
def test_interruption_leaves_nothing(folder: Path, stage: str, number: signal.Signals) -> None:
    np.save(folder / "x.npy", random_weight(1000, 3, 4, 4))
    (folder / "out").write_bytes(b"precious")
    before = contents(folder)
    for _ in range(5):
        run = Background(*init(*SPILLING, "--force", "--verbose"), cwd=folder)
        run.wait_for(STAGES[stage])
        if stage != "writing":
            time.sleep(0.03)  # it takes longer than that
        if run.process.poll() is None:
            break
        # On a busy machine it was over before this process had its turn.
        run.end()
        (folder / "out").write_bytes(b"precious")
    else:
        pytest.fail("the command was over each time before it could be interrupted")
    run.process.send_signal(number)
    words = "terminated" if number is signal.SIGTERM else "interrupted"
    error = check_refused(run.end(), 128 + number, words)
    assert error == f"error: {words}; nothing was written"
    check_nothing_left(folder, before)


UNLUCKY = """
import os, signal, sys, time, typer
from lsuv_cli.cli.exits import exit_with

class Fragile:
    def __del__(self):
        os.kill(os.getpid(), signal.{})

def work(run):
    Fragile()
    time.sleep(60)

try:
    exit_with(work)
except typer.Exit as end:
    sys.exit(end.exit_code)
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_while_an_object_is_destroyed(name: str, code: int) -> None:
    """Python itself drops what is raised there."""
    command = [sys.executable, "-c", UNLUCKY.format(name)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    check_refused(process, code, "nothing was written")


TRIED = """
import os, signal, sys, tempfile, typer
from lsuv_cli.core.errors import ExitCode
from lsuv_cli.cli.exits import exit_with

create = os.open

def interrupted(*arguments, **more):
    descriptor = create(*arguments, **more)
    os.kill(os.getpid(), signal.SIGTERM)
    return descriptor

def work(run):
    tempfile.gettempdir()
    return ExitCode.SUCCESS

os.open = interrupted
try:
    exit_with(work)
except typer.Exit as end:
    sys.exit(end.exit_code)
"""


def test_a_signal_while_the_folder_for_temporary_files_is_tried(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", TRIED],
        capture_output=True,
        text=True,
        env={**UNMEASURED, "TMPDIR": str(tmp_path)},
        timeout=50,
        check=False,
    )
    check_refused(process, 143, "nothing was written")
    assert not list(tmp_path.iterdir())


SIGNALLING = """
import os, signal, sys

class Signalling:
    def find_spec(self, name, *_):
        if name == "{}":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Signalling())
from lsuv_cli.__main__ import main
main()
"""


def interrupted_at_import(
    module: str, *arguments: object, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """The command, interrupted when it imports a module."""
    command = [sys.executable, "-c", SIGNALLING.format(module), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=50, check=False)


def test_a_signal_before_the_command_begins(folder: Path) -> None:
    process = interrupted_at_import("typer", *init(), cwd=folder)
    assert process.returncode == -signal.SIGINT
    assert process.stdout == process.stderr == ""


def test_a_signal_when_the_weights_are_written(folder: Path) -> None:
    process = interrupted_at_import("lsuv_cli.report.init_json", *init(), cwd=folder)
    error = check_refused(process, 130, "interrupted")
    assert error == "error: interrupted; the weights are in out"
    check_whole(folder / "out")


LATE = """
import os, signal, sys, typer
from lsuv_cli.core.errors import ExitCode
from lsuv_cli.cli.exits import exit_with

class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.{}):
        kill(process, number)

last = Last()
try:
    exit_with(lambda run: ExitCode.NOT_CONVERGED)
except typer.Exit as end:
    sys.exit(end.exit_code)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_when_the_work_is_done(name: str) -> None:
    command = [sys.executable, "-c", LATE.format(name)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert process.returncode == 4
    assert process.stdout == process.stderr == ""


# Two runs at once


@pytest.mark.parametrize("force", [False, True])
def test_two_runs_with_one_output(folder: Path, force: bool) -> None:
    arguments = [*init(*SPILLING, "--quiet"), *(["--force"] if force else [])]
    runs = [Background(*arguments, cwd=folder) for _ in range(2)]
    ends = sorted((run.end() for run in runs), key=lambda process: process.returncode)
    check_whole(folder / "out")
    assert ends[0].returncode == 0, ends[0].stderr
    if force:
        assert ends[1].returncode == 0, ends[1].stderr
    else:
        check_refused(ends[1], 5, "exists already; give --force")
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "out", "spill", "x.npy"]


def check_whole(path: Path) -> None:
    assert all(np.isfinite(weight).all() for weight in load_file(path).values())


# Options


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (2, "--samples 0: not a number of samples", ["--samples", "0"]),
        (2, "--samples many: not a number of samples", ["--samples", "many"]),
        (2, "--samples -3: not a number of samples", ["--samples", "-3"]),
        (2, "--memory nonsense: not a size", ["--memory", "nonsense"]),
        (2, "--memory 0: not a size", ["--memory", "0"]),
        (2, "--batch-size", ["--batch-size", "0"]),
        (2, "--spill-dir nosuch: no such folder", ["--spill-dir", "nosuch"]),
        (2, "--spill-dir x.npy: no such folder", ["--spill-dir", "x.npy"]),
        (2, "--timeout", ["--timeout", "0"]),
        (5, "the resume journal can't be written in x.npy", ["--resume", "x.npy"]),
        (5, "the resume journal can't be written in x.npy/c", ["--resume", "x.npy/c"]),
    ],
)
def test_bad_values(lsuv: Run, folder: Path, code: int, words: str, arguments: list[str]) -> None:
    before = contents(folder)
    check_refused(lsuv(*init(), *arguments, cwd=folder), code, words)
    check_nothing_left(folder, before)
