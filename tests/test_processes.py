"""Several real processes on one run: they exchange, and a failure of one ends all of them.

Time-outs are generous where a failure is noticed without one, and short where it is what ends the
wait. Processes without a launcher are forks that have imported torch already.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.namespaces import cut, two_hosts, why_not
from support.paths import SUPPORT
from support.processes import PROCESS_ERROR, SLACK_SECONDS, Processes

WORKER = SUPPORT / "process_worker.py"
LONG, SHORT = 60, 5

pytestmark = pytest.mark.processes


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The file that the first process writes at the very end."""
    return tmp_path / "out"


@pytest.fixture
def by_hand(processes: Processes, out: Path) -> Callable[..., Processes]:
    """A function that starts processes without a launcher."""

    def start(size: int, timeout: float, *deeds: str, **more: Any) -> Processes:
        processes.by_hand(size, WORKER, out, timeout, *deeds, **more)
        return processes

    return start


@pytest.fixture
def torchrun(processes: Processes, out: Path) -> Callable[..., Processes]:
    """A function that starts processes on one machine with torchrun."""

    def start(size: int, timeout: float, *deeds: str) -> Processes:
        processes.torchrun(size, WORKER, out, timeout, *deeds)
        return processes

    return start


def wait_until_met(run: Processes, out: Path, size: int) -> float:
    """Wait until the processes are about to misbehave; return the time."""
    deadline = time.monotonic() + 2 * LONG
    while not all(out.with_suffix(f".{rank}").exists() for rank in range(size)):
        assert time.monotonic() < deadline, run.printed
        assert all(process.poll() is None for process in run.started[:size]), run.printed
        time.sleep(0.05)
    return time.monotonic()


def received(size: int) -> int:
    """Return the bytes that the first process gets: three headers, a vector and a text."""
    return (size - 1) * (3 * 16 + 200 * 8 + 2 * (size - 1))


def test_what_is_gathered(out: Path, by_hand: Callable[..., Processes]) -> None:
    run = by_hand(3, LONG)
    assert run.codes() == [0, 0, 0], run.printed
    assert out.read_text() == f"3 {received(3)}"
    assert run.printed == ""


def test_a_process_that_fails_tells_why_and_ends_the_others(
    out: Path,
    by_hand: Callable[..., Processes],
) -> None:
    run = by_hand(3, LONG, "1:fail")
    assert run.codes() == [PROCESS_ERROR, 3, PROCESS_ERROR], run.printed
    assert run.printed == "error: process 1 of 3: a sample can't be read\n"
    assert not out.exists()


def test_the_process_at_which_the_others_meet_fails(by_hand: Callable[..., Processes]) -> None:
    run = by_hand(2, LONG, "0:fail")
    assert run.codes() == [3, PROCESS_ERROR], run.printed
    assert run.printed == "error: a sample can't be read\n"


def test_a_process_that_is_killed(out: Path, by_hand: Callable[..., Processes]) -> None:
    run = by_hand(3, LONG, "2:die")
    begun = wait_until_met(run, out, 2)
    assert run.codes() == [PROCESS_ERROR, PROCESS_ERROR, -signal.SIGKILL], run.printed
    assert time.monotonic() - begun < SLACK_SECONDS
    (error,) = run.errors
    assert "process 2 of 3 ended" in error
    assert not out.exists()


def test_the_process_at_which_the_others_meet_is_stopped(
    out: Path, by_hand: Callable[..., Processes]
) -> None:
    run = by_hand(2, SHORT, "0:stop")
    begun = wait_until_met(run, out, 2)
    assert run.codes(but=0) == [PROCESS_ERROR], run.printed
    assert SHORT - 1 < time.monotonic() - begun < SHORT + SLACK_SECONDS
    (error,) = run.errors
    assert re.match(
        rf"process 1 of 2: process 0 of 2, .* did not answer at .* within {SHORT} s", error
    )
    assert not out.exists()


def test_one_that_is_stopped_is_told_from_one_that_works(
    out: Path, by_hand: Callable[..., Processes]
) -> None:
    run = by_hand(3, SHORT, "1:work", "2:stop")
    wait_until_met(run, out, 3)
    assert run.started[0].wait(2 * LONG) == PROCESS_ERROR
    (error,) = run.errors
    assert error.startswith(f"process 2 of 3 ended, or did not answer within {SHORT} s")


def test_a_process_that_never_comes(by_hand: Callable[..., Processes]) -> None:
    run = by_hand(3, SHORT, ranks=(0, 2))
    assert run.codes() == [PROCESS_ERROR, PROCESS_ERROR], run.printed
    (error,) = run.errors
    assert re.search(rf"process 1 of 3 did not come to 127.0.0.1:\d+ within {SHORT} s", error)


def test_a_port_that_is_taken(out: Path, processes: Processes) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        meeting = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        processes.fork(WORKER, out, SHORT, RANK=0, **meeting)
        assert processes.codes() == [PROCESS_ERROR], processes.printed
    assert processes.printed == (
        f"error: the first process can't listen at 127.0.0.1:{port} (address already in use): give "
        "a free port of its machine in MASTER_PORT\n"
    )


def test_processes_with_different_work(by_hand: Callable[..., Processes]) -> None:
    run = by_hand(2, LONG, "1:grow")
    assert run.codes() == [PROCESS_ERROR, PROCESS_ERROR], run.printed
    (error,) = run.errors
    assert "process 1 of 2 sent 3 numbers, but process 0 sent 0: give every" in error


def test_a_process_of_torchrun_is_killed(out: Path, torchrun: Callable[..., Processes]) -> None:
    run = torchrun(2, LONG, "1:die")
    assert run.codes() == [1], run.printed
    (error,) = run.errors
    assert "process 1 of 2 ended" in error
    assert not out.exists()


def test_the_one_to_blame_ends_first(torchrun: Callable[..., Processes]) -> None:
    run = torchrun(2, LONG, "1:fail")
    assert run.codes() == [1], run.printed
    assert run.errors == ["process 1 of 2: a sample can't be read"]
    assert re.search(r"failed \(exitcode: 3\) local_rank: 1", run.printed)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, "interrupted; nothing was written"),
        (signal.SIGTERM, "terminated; nothing was written"),
    ],
)
def test_signals_end_a_wait_at_once(
    out: Path, torchrun: Callable[..., Processes], number: signal.Signals, error: str
) -> None:
    run = torchrun(2, LONG, "1:work")
    begun = wait_until_met(run, out, 2)
    # A terminal sends Ctrl-C to all of them, and torchrun passes on what it gets itself.
    (os.killpg if number == signal.SIGINT else os.kill)(run.started[0].pid, number)
    assert run.codes() == [1], run.printed
    assert time.monotonic() - begun < SLACK_SECONDS
    assert run.errors == [error]


def test_a_cable_that_is_pulled(out: Path, processes: Processes) -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with two_hosts() as hosts:
        processes.torchrun_on(hosts, WORKER, out, SHORT, "1:work")
        begun = wait_until_met(processes, out, 2)
        cut(hosts[0])
        code = processes.started[0].wait(2 * LONG)
        assert code == 1, processes.printed
        assert time.monotonic() - begun < SHORT + SLACK_SECONDS
    assert f"process 1 of 2 ended, or did not answer within {SHORT} s" in processes.errors[0]
    assert not out.exists()
