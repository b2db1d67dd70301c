"""One process of a run for tests: gathers, misbehaves as its rank is to, gathers again.

Usage: process_worker.py OUT TIMEOUT [RANK:DEED ...]. The first process writes to OUT, at the very
end, what it has gathered.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import typer

from lsuv_cli.cli.exits import exit_with
from lsuv_cli.core.errors import DataError, ExitCode
from lsuv_cli.core.group import Group
from lsuv_cli.processes.run import Run

SLOW_SECONDS = 60.0


def misbehave(deed: str, group: Group, out: Path) -> None:
    """Misbehave between two gathers, once `out` with a suffix announces it."""
    out.with_suffix(f".{group.rank}").write_text(str(os.getpid()))
    if deed == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif deed == "fail":
        raise DataError("a sample can't be read")
    elif deed == "work":
        time.sleep(SLOW_SECONDS)
    elif deed == "grow":
        group.gather(np.zeros(3))
    elif deed == "write":
        group.gather_text("here")


def vectors(rank: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a rank's vector: numbers that only a bit-exact exchange leaves as they are."""
    values = np.random.default_rng(rank).normal(size=size) * 10.0 ** np.arange(
        -size // 2, size // 2
    )
    values[:3] = np.nan, -0.0, np.inf
    return values


def work(run: Run) -> ExitCode:
    """Do the work of one process."""
    out, timeout, *given = sys.argv[1:]
    deeds = dict(deed.split(":") for deed in given)
    with run.open_group("cpu", float(timeout)) as group:
        gathered = group.gather(vectors(group.rank, 200))
        misbehave(deeds.get(str(group.rank), ""), group, Path(out))
        for rank, values in enumerate(gathered):
            assert values.tobytes() == vectors(rank, 200).tobytes()
        assert [len(values) for values in group.gather(np.zeros(0))] == [0] * group.size
        texts = group.gather_text("é" * group.rank)
        assert texts == ["é" * rank for rank in range(group.size)]
        if group.is_first:
            Path(out).write_text(f"{group.size} {group.bytes_exchanged}")
    return ExitCode.SUCCESS


if __name__ == "__main__":
    try:
        exit_with(work)
    except typer.Exit as end:
        sys.exit(end.exit_code)
