"""Runs with --resume that are killed, and resumed where they were."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from support.background import PATIENCE, Background
from support.command import COMMAND, Run
from support.graphs import random_weight
from support.limits import limit_files
from support.pass_stats import pass_stats
from support.paths import SUPPORT
from support.refusals import check_refused
from support.sample_files import save_parquet, save_shard
from support.small_models import convolutional, small_model
from support.written_files import check_same_weights, contents

SAMPLES, BATCHES, NODES = 500, 72, 18
JOURNAL = "c/journal.jsonl"
# The head, the measurement before, five parts of the sweep, the measurement after.
LINES = 8
DYING = SUPPORT / "dying_process.py"


def init(*arguments: object, out: str = "out", data: str = "x.npy") -> list[object]:
    limits = ("--batch-size", 7, "--memory", "20KB")
    return ["init", "m.onnx", "--data", data, "--samples", "all", *limits, "--out", out, *arguments]


RESUME = ("--resume", "c")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, samples, and the output of undisturbed runs with and without --resume."""
    folder = tmp_path_factory.mktemp("finished")
    convolutional(folder)
    np.save(folder / "x.npy", random_weight(SAMPLES, 3, 4, 4))
    for arguments in (init(), init(*RESUME, out="kept")):
        subprocess.run([COMMAND, *map(str, arguments)], cwd=folder, check=True, capture_output=True)
    assert not (folder / "c").exists()
    return folder


@pytest.fixture
def folder(tmp_path: Path, finished: Path) -> Path:
    """A folder with the same model and samples alone."""
    for name in ("m.onnx", "x.npy"):
        (tmp_path / name).symlink_to(finished / name)
    return tmp_path


def lines(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def kill_at(folder: Path, count: int, **more: str) -> None:
    """Kill a run when its journal has a number of lines."""
    run = Background(*init(*RESUME, "--quiet", **more), cwd=folder)
    deadline = time.monotonic() + PATIENCE
    while lines(folder / JOURNAL) < count:
        assert time.monotonic() < deadline
        assert run.process.poll() is None, run.end().stderr
        time.sleep(0.001)
    run.process.kill()
    assert run.end().returncode == -signal.SIGKILL
    assert not (folder / "out").exists()


def test_a_resume_journal_does_not_show_in_what_is_written(finished: Path) -> None:
    assert (finished / "kept").read_bytes() == (finished / "out").read_bytes()


@pytest.mark.parametrize("count", [2, 3, 5, LINES - 1])
def test_a_killed_run_goes_on(lsuv: Run, folder: Path, finished: Path, count: int) -> None:
    kill_at(folder, count)
    left = lines(folder / JOURNAL)
    if count % 2:
        # The process was killed while it wrote.
        with (folder / JOURNAL).open("ab") as journal:
            journal.write(b'{"ill_conditioned": fal')
    process = lsuv(*init(*RESUME, "--verbose"), cwd=folder)
    assert process.returncode == 0, process.stderr
    assert "resuming from the journal in c\n" in process.stderr
    executions, repeated, _ = pass_stats(process)
    whole = BATCHES * NODES
    assert repeated == 0
    assert executions == 0 if left == LINES - 1 else 0 < executions <= whole
    assert (executions < whole) == (left > 2)
    assert (folder / "out").read_bytes() == (finished / "out").read_bytes()
    assert not (folder / "c").exists()


def test_killed_again_and_again(lsuv: Run, folder: Path, finished: Path) -> None:
    for count in (1, 3, 6):
        kill_at(folder, count)
    process = lsuv(*init(*RESUME), cwd=folder)
    assert process.returncode == 0, process.stderr
    assert (folder / "out").read_bytes() == (finished / "out").read_bytes()


def test_values_that_are_gone(lsuv: Run, folder: Path, finished: Path) -> None:
    """Measurements are still used; the missing values are computed again."""
    kill_at(folder, 4)
    (folder / "c" / "values.bin").unlink()
    process = lsuv(*init(*RESUME, "--verbose"), cwd=folder)
    assert process.returncode == 0, process.stderr
    assert pass_stats(process)[1] > 0
    check_same_weights(folder / "out", finished / "out")
    assert not (folder / "c").exists()


def test_values_that_are_damaged(lsuv: Run, folder: Path, finished: Path) -> None:
    kill_at(folder, 4)
    values = folder / "c" / "values.bin"
    values.write_bytes(bytes(values.stat().st_size))
    process = lsuv(*init(*RESUME, "--verbose"), cwd=folder)
    assert process.returncode == 0, process.stderr
    assert pass_stats(process)[1] > 0
    check_same_weights(folder / "out", finished / "out")


@pytest.mark.parametrize(("line", "before"), [(0, b'": "'), (2, b"0.")])
def test_a_journal_that_is_damaged(
    lsuv: Run, folder: Path, finished: Path, line: int, before: bytes
) -> None:
    """The lines before the damage are used."""
    kill_at(folder, 4)
    journal = folder / JOURNAL
    everything = journal.read_bytes().splitlines(keepends=True)
    start, _, end = everything[line].partition(before)
    everything[line] = start + before + bytes([end[0] ^ 1]) + end[1:]
    journal.write_bytes(b"".join(everything))
    process = lsuv(*init(*RESUME, "--verbose"), cwd=folder)
    assert process.returncode == 0, process.stderr
    assert ("resuming from" in process.stderr) == (line > 0)
    assert (folder / "out").read_bytes() == (finished / "out").read_bytes()


def test_a_full_disk(folder: Path) -> None:
    before = contents(folder)
    process = Background(*init(*RESUME), cwd=folder, preexec_fn=limit_files(1000)).end()
    check_refused(process, 5, "the resume journal can't be written in c: File too large")
    shutil.rmtree(folder / "c")
    assert contents(folder) == before


def test_a_terminated_run_goes_on(lsuv: Run, folder: Path, finished: Path) -> None:
    """Its journal is the one thing it leaves."""
    run = Background(*init(*RESUME, "--verbose"), cwd=folder)
    run.wait_for("sweeping, part 2 of 5")
    run.process.terminate()
    check_refused(run.end(), 143, "terminated")
    assert sorted(path.name for path in folder.iterdir()) == ["c", "m.onnx", "x.npy"]
    process = lsuv(*init(*RESUME), cwd=folder)
    assert "resuming from the journal" in process.stderr
    assert (folder / "out").read_bytes() == (finished / "out").read_bytes()


# Another run's journal


def test_a_run_that_still_runs(lsuv: Run, folder: Path) -> None:
    run = Background(*init(*RESUME, "--verbose"), cwd=folder)
    run.wait_for("measuring the weights as they are")
    run.process.send_signal(signal.SIGSTOP)
    process = lsuv(*init(*RESUME, out="other"), cwd=folder)
    run.process.send_signal(signal.SIGCONT)
    check_refused(process, 2, "another run uses the resume journal in c; wait for its end")
    assert run.end().returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["m.onnx", "out", "x.npy"]


OTHER = "the resume journal in c is of a run with another model, other samples or other options"


def test_other_options(lsuv: Run, folder: Path) -> None:
    kill_at(folder, 3)
    before = contents(folder)
    for arguments in (["--seed", "1"], ["--no-verify"], ["--batch-size", "8"], ["--bias", "keep"]):
        check_refused(lsuv(*init(*RESUME), *arguments, cwd=folder), 2, OTHER)
        assert contents(folder) == before


def test_another_number_of_processes(lsuv: Run, folder: Path) -> None:
    (folder / "c").mkdir()
    (folder / "c" / "1-of-2.journal.jsonl").write_bytes(b"")
    before = contents(folder)
    words = (
        "the resume journal in c is of a run with another number of processes; give another folder"
    )
    check_refused(lsuv(*init(*RESUME), cwd=folder), 2, words)
    assert contents(folder) == before


def test_another_model_or_other_samples(lsuv: Run, folder: Path, finished: Path) -> None:
    kill_at(folder, 3)
    (folder / "x.npy").unlink()
    np.save(folder / "x.npy", random_weight(SAMPLES, 3, 4, 4))
    check_refused(lsuv(*init(*RESUME), cwd=folder), 2, OTHER)
    (folder / "x.npy").unlink()
    (folder / "x.npy").symlink_to(finished / "x.npy")
    model = onnx.load(folder / "m.onnx")
    model.producer_name = "another"
    (folder / "m.onnx").unlink()
    onnx.save(model, folder / "m.onnx")
    check_refused(lsuv(*init(*RESUME), cwd=folder), 2, OTHER)


@pytest.mark.parametrize("arrange", [save_shard, save_parquet], ids=["shard", "parquet"])
def test_collections_that_have_changed(
    lsuv: Run, tmp_path: Path, arrange: Callable[[Path, int], Path]
) -> None:
    small_model(tmp_path / "m.onnx")
    path = arrange(tmp_path, 60)
    kill_at(tmp_path, 2, data=path.name)
    os.utime(path, (0, 0))
    check_refused(lsuv(*init(*RESUME, data=path.name), cwd=tmp_path), 2, OTHER)
