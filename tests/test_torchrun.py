"""The command under torchrun: the result of a single process, or one error message."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.command import Run
from support.graphs import random_weight
from support.namespaces import two_hosts, why_not
from support.paths import SUPPORT
from support.processes import PATIENCE, PROCESS_ERROR, SLACK_SECONDS, Processes
from support.sample_files import save_pictures
from support.small_models import convolutional, small_model
from support.written_files import check_same_weights

HUNG = 5
LSUV = ("-m", "lsuv_cli")
OURS = ("lsuv", ".lsuv", "tmp")
DYING = SUPPORT / "dying_process.py"
SPILLING = ("--batch-size", 3, "--memory", "20KB", "--spill-dir", "tmp")

pytestmark = pytest.mark.processes


@pytest.fixture
def run(processes: Processes) -> Processes:
    """Processes, none of them started, in a folder with a model and samples."""
    convolutional(processes.cwd)
    np.save(processes.cwd / "x.npy", random_weight(25, 3, 4, 4))
    return processes


@pytest.fixture
def folder(run: Processes) -> Path:
    """The folder of the model and the samples."""
    return run.cwd


def init(*arguments: object, model: str = "m.onnx", data: str = "x.npy") -> list[object]:
    options = arguments if "--out" in arguments else ("--out", "out", *arguments)
    return ["init", model, "--data", data, "--samples", "all", *options]


def check_as_one(lsuv: Run, folder: Path, *arguments: object) -> dict[str, Any]:
    """Check that one process writes the same; return its report."""
    process = lsuv(*arguments, "--out", "one", "--json", "--force", cwd=folder)
    assert process.returncode == 0, process.stderr
    check_same_weights(folder / "out", folder / "one")
    report: dict[str, Any] = json.loads(process.stdout)
    assert report["samples"]["processes"] == 1
    return report


def check_left(folder: Path, *names: str) -> None:
    """Check that only these were added to the folder, and no temporary file of ours is left."""
    given = {"m.onnx", "x.npy", "tmp"}
    assert {path.name for path in folder.iterdir()} - given == set(names)
    # torchrun and ONNX Runtime leave some of their own.
    assert not [path for path in (folder / "tmp").iterdir() if path.name.startswith(OURS)]


def test_uneven_counts(lsuv: Run, folder: Path, run: Processes) -> None:
    run.torchrun(3, *LSUV, *init(*SPILLING, "--json"))
    assert run.codes() == [0], run.stderr
    report = json.loads(run.stdout)
    assert report["samples"]["processes"] == 3
    assert report["samples"]["used"] == 25
    assert run.stderr.count("input x: 25x3x4x4") == 1
    assert run.stderr.count("7 layers: 6 converged, 1 shared") == 1
    check_left(folder, "out")
    one = check_as_one(lsuv, folder, *init(*SPILLING))
    for layer, other in zip(report["layers"], one["layers"], strict=True):
        assert layer["status"] == other["status"]


def test_more_processes_than_samples(lsuv: Run, folder: Path, run: Processes) -> None:
    np.save(folder / "x.npy", random_weight(2, 3, 4, 4))
    run.by_hand(3, *LSUV, *init("--quiet"))
    assert run.codes() == [0] * 3, run.stderr
    assert run.stdout == run.stderr == ""
    check_left(folder, "out")
    check_as_one(lsuv, folder, *init())


def test_unreadable_pictures(lsuv: Run, folder: Path, run: Processes) -> None:
    """The same others replace them as with one process."""
    small_model(folder / "small.onnx")
    pictures = save_pictures(folder / "pictures", 20)
    for number in (1, 2, 3, 11, 17):
        (pictures / f"{number}.png").write_bytes(b"no picture")
    arguments = init("--samples", 13, "--batch-size", 2, model="small.onnx", data="pictures")
    run.by_hand(2, *LSUV, *arguments, "--json")
    assert run.codes() == [0, 0], run.stderr
    report = json.loads(run.stdout)
    one = check_as_one(lsuv, folder, *arguments)
    for ours, theirs in zip(report["samples"]["inputs"], one["samples"]["inputs"], strict=True):
        assert ours["mean"] == pytest.approx(theirs["mean"], rel=1e-6)
    skipped, others = (
        sorted(sample["path"] for sample in r["samples"]["skipped"]) for r in (report, one)
    )
    assert skipped == others
    assert report["samples"]["used"] == 13
    assert len(skipped) >= 2
    assert run.stderr.count("warning: skipped") == len(skipped)


@pytest.mark.parametrize(
    "settings",
    [('data = "x.npy"', 'data = "more.npy"'), ("seed = 0", "seed = 1"), ("", 'resume = "c"')],
    ids=["samples", "option", "resume journal"],
)
def test_processes_that_are_given_different_things(
    folder: Path, run: Processes, settings: tuple[str, str]
) -> None:
    np.save(folder / "more.npy", random_weight(26, 3, 4, 4))
    for rank, text in enumerate(settings):
        data = "" if "data" in text else 'data = "x.npy"'
        (folder / f"{rank}.toml").write_text(f"{data}\n[init]\n{text}\n")
    command = ("--config", "{rank}.toml", "init", "m.onnx", "--samples", "all", "--out", "out")
    run.by_hand(2, *LSUV, *command)
    assert run.codes() == [2, 2], run.stderr
    (error,) = run.errors
    assert "the processes were given different models, samples, options" in error
    check_left(folder, "more.npy", "0.toml", "1.toml")


def test_a_process_is_killed_during_the_sweep(folder: Path, run: Processes) -> None:
    np.save(folder / "x.npy", random_weight(1000, 3, 4, 4))
    run.by_hand(2, *LSUV, *init(*SPILLING, "--verbose"))
    run.wait_for("measuring the weights as they are")
    run.started[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    assert run.codes() == [PROCESS_ERROR, -signal.SIGKILL], run.stderr
    assert time.monotonic() - killed < SLACK_SECONDS
    (error,) = run.errors
    assert "process 1 of 2 ended" in error
    assert "Traceback" not in run.stderr
    (left,) = (folder / "tmp").glob("lsuv-*")  # nobody can tidy up after being killed
    shutil.rmtree(left)
    check_left(folder)


def test_a_process_of_torchrun_is_killed(folder: Path, run: Processes) -> None:
    np.save(folder / "x.npy", random_weight(1000, 3, 4, 4))
    run.torchrun(2, *LSUV, *init(*SPILLING, "--verbose"))
    run.wait_for("measuring the weights as they are")
    os.kill(process_of(run.started[0].pid, rank=0), signal.SIGKILL)
    assert run.codes() == [1], run.stderr
    (error,) = run.errors
    assert "process 0 of 2" in error
    assert not (folder / "out").exists()


def process_of(launcher: int, rank: int) -> int:
    """Return the process id of the rank that a launcher has started."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(launcher)], capture_output=True, text=True, check=True
    )
    for pid in found.stdout.split():
        if f"RANK={rank}" in Path("/proc", pid, "environ").read_text().split("\0"):
            return int(pid)
    raise AssertionError(found.stdout)


def test_a_process_hangs(folder: Path, run: Processes) -> None:
    np.save(folder / "x.npy", random_weight(1000, 3, 4, 4))
    run.by_hand(2, *LSUV, *init(*SPILLING, "--verbose", "--timeout", HUNG))
    run.wait_for("measuring the weights as they are")
    run.started[1].send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    assert run.started[0].wait(PATIENCE) == PROCESS_ERROR
    assert time.monotonic() - stopped < HUNG + SLACK_SECONDS
    run.started[1].send_signal(signal.SIGKILL)
    run.codes()
    (error,) = run.errors
    assert f"process 1 of 2 ended, or did not answer within {HUNG} s" in error
    assert not (folder / "out").exists()


def test_torchrun_is_terminated(folder: Path, run: Processes) -> None:
    """It passes the signal on."""
    np.save(folder / "x.npy", random_weight(1000, 3, 4, 4))
    run.torchrun(2, *LSUV, *init(*SPILLING, "--verbose"))
    run.wait_for("measuring the weights as they are")
    run.started[0].send_signal(signal.SIGTERM)
    assert run.codes() == [1], run.stderr
    assert run.errors == ["terminated; nothing was written"]
    check_left(folder)


def test_two_machines(lsuv: Run, folder: Path, run: Processes) -> None:
    """Two network namespaces that share the file system."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with two_hosts() as hosts:
        run.torchrun_on(hosts, *LSUV, *init(*SPILLING))
        assert run.codes() == [0, 0], run.stderr
    assert run.stderr_of(0).count("7 layers: 6 converged, 1 shared") == 1
    assert "7 layers" not in run.stderr_of(1)
    check_left(folder, "out")
    check_as_one(lsuv, folder, *init(*SPILLING))


# Resume journals


def test_killed_processes_go_on(folder: Path, run: Processes) -> None:
    """The second dies before it has written a line that the first has; then the first does."""
    np.save(folder / "x.npy", random_weight(60, 3, 4, 4))
    arguments = [*init(*SPILLING), "--resume", "c"]
    run.by_hand(2, *LSUV, *init(*SPILLING, "--out", "whole"))
    assert run.codes() == [0, 0], run.stderr
    for rank, line in ((1, 4), (0, 6)):
        run.by_hand(2, DYING, rank, line, *arguments)
        codes = run.codes()[-2:]
        assert codes[rank] == -signal.SIGKILL, run.stderr
        assert codes[1 - rank] == PROCESS_ERROR, run.stderr
        lines = [
            (folder / "c" / f"{r}-of-2.journal.jsonl").read_bytes().count(b"\n") for r in (0, 1)
        ]
        assert lines[rank] == line - 1
        assert lines[1 - rank] == line
    before = run.stderr.count("resuming from the journal in c\n")
    run.by_hand(2, *LSUV, *arguments, "--verbose")
    assert run.codes()[-2:] == [0, 0], run.stderr
    assert run.stderr.count("resuming from the journal in c\n") == before + 1
    assert (folder / "out").read_bytes() == (folder / "whole").read_bytes()
    assert not (folder / "c").exists()
