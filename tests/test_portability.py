"""The command on a system that has only what Windows and macOS have too.

Windows itself isn't here: its functions are, by the removal of those that it lacks.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from support.command import UNMEASURED
from support.graphs import random_weight
from support.pass_stats import pass_stats
from support.sample_files import save_shard
from support.small_models import convolutional
from support.written_files import check_same_weights

# Absent on Windows, or on macOS: see "Availability" in the documentation of os and signal.
LACKING = """
import os, signal, sys
for name in ("pread", "preadv", "pwrite", "pwritev", "fchmod", "sched_getaffinity", "memfd_create"):
    delattr(os, name)
for name in ("pthread_sigmask", "SIGHUP", "SIGALRM", "SIGUSR1"):
    delattr(signal, name)
for name in ("fcntl", "resource", "termios"):
    sys.modules[name] = None
from lsuv_cli.__main__ import main
main()
"""
BATCHES = ("--batch-size", 7, "--memory", "20KB", "--spill-dir", "spill", "--verbose")

Elsewhere = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Elsewhere:
    """Runs lsuv without the functions and modules that only Linux has."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [str(one) for one in arguments]
        return subprocess.run(
            [sys.executable, "-c", LACKING, *words],
            cwd=tmp_path,
            env=UNMEASURED,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def init(*arguments: object, out: str, data: str = "x.npy") -> tuple[object, ...]:
    return ("init", "model.onnx", "--data", data, "--samples", "all", "--out", out, *arguments)


def test_spilling_without_positioned_reads(elsewhere: Elsewhere, tmp_path: Path) -> None:
    """The same weights as in memory, and as with all functions."""
    (tmp_path / "spill").mkdir()
    convolutional(tmp_path).rename(tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", random_weight(60, 3, 4, 4))
    for name, arguments in {"spilled": BATCHES, "whole": ()}.items():
        process = elsewhere(*init(*arguments, out=name))
        assert process.returncode == 0, process.stderr
        if arguments:
            assert pass_stats(process)[2] > 100_000
    check_same_weights(tmp_path / "spilled", tmp_path / "whole")
    process = elsewhere("verify", "model.onnx", "whole", "--data", "x.npy", "--samples", "all")
    assert process.returncode == 0, process.stderr


def test_a_shard_and_a_journal(elsewhere: Elsewhere, tmp_path: Path) -> None:
    convolutional(tmp_path).rename(tmp_path / "model.onnx")
    save_shard(tmp_path, 12)
    process = elsewhere(*init("--resume", "journal", "--force", out="out", data="data.tar"))
    assert process.returncode == 0, process.stderr
    process = elsewhere(*init(out="again", data="none.tar"))
    assert process.returncode == 3
    assert process.stderr.splitlines()[-1] == "error: no such data: none.tar"
