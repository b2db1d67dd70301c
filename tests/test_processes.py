"""Several real processes on one run: they exchange, and whatever befalls one ends all of them.

Time-outs are generous where a failure is noticed without one, and short where it is what ends the
wait; processes take seconds to start on a busy machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from namespaces import Host, cut, two_hosts, why_not

WORKER = Path(__file__).parent / "process_worker.py"
TORCHRUN = ("-m", "torch.distributed.run")
PROCESS_ERROR = 6
LONG, SHORT = 60, 8
# From the moment at which the time-out has passed: looking for signs of life, saying it, leaving.
SLACK_SECONDS = 20

pytestmark = pytest.mark.processes


class Started:
    """Processes that were started together, and what they print."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out.txt"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._streams: list[Path] = []

    def start(self, arguments: Sequence[object], environ: Mapping[str, str]) -> None:
        """Start one more."""
        stream = self.out.with_name(f"stderr{len(self._streams)}")
        self._streams.append(stream)
        clean = {name: value for name, value in os.environ.items() if "SLURM" not in name}
        with stream.open("wb") as file:
            self.processes.append(
                subprocess.Popen(
                    list(map(str, arguments)),
                    env={**clean, **environ},
                    stderr=file,
                    stdout=file,
                    start_new_session=True,
                )
            )

    def wait_until_met(self, size: int) -> float:
        """Wait until the deeds are about to be done; the time then."""
        deadline = time.monotonic() + 2 * LONG
        while not all(self.out.with_suffix(f".{rank}").exists() for rank in range(size)):
            assert time.monotonic() < deadline, self.printed
            assert all(process.poll() is None for process in self.processes), self.printed
            time.sleep(0.05)
        return time.monotonic()

    def codes(self, but: int | None = None) -> list[int]:
        """The exit codes, without that of a process that won't end."""
        return [
            process.wait(2 * LONG) for rank, process in enumerate(self.processes) if rank != but
        ]

    @property
    def printed(self) -> str:
        """What all of them have printed."""
        return "".join(stream.read_text() for stream in self._streams)

    @property
    def errors(self) -> list[str]:
        """The sentences among it."""
        return re.findall(r"^error: (.*)$", self.printed, re.MULTILINE)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Nothing yet; what was started is killed in the end, together with its children."""
    started = Started(tmp_path)
    yield started
    for process in started.processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def by_hand(started: Started) -> Callable[..., Started]:
    """Starts processes without a launcher."""

    def start(
        size: int, timeout: float, *deeds: str, ranks: Sequence[int] | None = None
    ) -> Started:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for rank in range(size) if ranks is None else ranks:
            started.start(
                [sys.executable, WORKER, started.out, timeout, *deeds],
                {**shared, "RANK": str(rank)},
            )
        return started

    return start


@pytest.fixture
def torchrun(started: Started) -> Callable[..., Started]:
    """Starts processes on one machine with torchrun."""

    def start(size: int, timeout: float, *deeds: str) -> Started:
        started.start(
            [
                *(sys.executable, *TORCHRUN, "--standalone", "--nproc-per-node", size),
                *(WORKER, started.out, timeout, *deeds),
            ],
            {},
        )
        return started

    return start


def received(size: int) -> int:
    """Bytes that the first process gets: three headers of two numbers, a vector, a text."""
    return (size - 1) * (3 * 16 + 200 * 8 + 2 * (size - 1))


def test_what_is_gathered(by_hand: Callable[..., Started]) -> None:
    run = by_hand(3, LONG)
    assert run.codes() == [0, 0, 0], run.printed
    assert run.out.read_text() == f"3 {received(3)}"
    assert run.printed == ""


def test_torchrun(torchrun: Callable[..., Started]) -> None:
    run = torchrun(2, LONG)
    assert run.codes() == [0], run.printed
    assert run.out.read_text() == f"2 {received(2)}"
    assert run.errors == []


def test_a_process_that_fails_tells_why_and_ends_the_others(
    by_hand: Callable[..., Started],
) -> None:
    run = by_hand(3, LONG, "1:fail")
    assert run.codes() == [PROCESS_ERROR, 3, PROCESS_ERROR], run.printed
    assert run.printed == "error: process 1 of 3: a sample can't be read\n"
    assert not run.out.exists()


def test_the_process_at_which_the_others_meet_fails(by_hand: Callable[..., Started]) -> None:
    run = by_hand(2, LONG, "0:fail")
    assert run.codes() == [3, PROCESS_ERROR], run.printed
    assert run.printed == "error: a sample can't be read\n"


def test_a_process_that_is_killed(by_hand: Callable[..., Started]) -> None:
    run = by_hand(3, LONG, "2:die")
    begun = run.wait_until_met(2)
    assert run.codes() == [PROCESS_ERROR, PROCESS_ERROR, -signal.SIGKILL], run.printed
    assert time.monotonic() - begun < SLACK_SECONDS
    (error,) = run.errors
    assert "process 2 of 3 ended" in error
    assert not run.out.exists()


def test_the_process_at_which_the_others_meet_is_stopped(by_hand: Callable[..., Started]) -> None:
    run = by_hand(2, SHORT, "0:stop")
    begun = run.wait_until_met(2)
    assert run.codes(but=0) == [PROCESS_ERROR], run.printed
    assert SHORT - 1 < time.monotonic() - begun < SHORT + SLACK_SECONDS
    (error,) = run.errors
    assert re.match(r"process 1 of 2: process 0 of 2, .* did not answer at .* within 8 s", error)
    assert not run.out.exists()


def test_one_that_is_stopped_is_told_from_one_that_works(by_hand: Callable[..., Started]) -> None:
    run = by_hand(3, SHORT, "1:work", "2:stop")
    run.wait_until_met(3)
    assert run.processes[0].wait(2 * LONG) == PROCESS_ERROR
    (error,) = run.errors
    assert error.startswith("process 2 of 3 ended, or did not answer within 8 s")


def test_a_process_that_never_comes(by_hand: Callable[..., Started]) -> None:
    run = by_hand(3, SHORT, ranks=(0, 2))
    assert run.codes() == [PROCESS_ERROR, PROCESS_ERROR], run.printed
    (error,) = run.errors
    assert re.search(r"process 1 of 3 did not come to 127.0.0.1:\d+ within 8 s", error)


def test_a_port_that_is_taken(started: Started) -> None:
    with socket.create_server(("", 0)) as server:
        port = str(server.getsockname()[1])
        meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started.start([sys.executable, WORKER, started.out, SHORT], {**meeting, "RANK": "0"})
        assert started.codes() == [PROCESS_ERROR], started.printed
    assert started.printed == (
        f"error: the first process can't listen at 127.0.0.1:{port} (address already in use): give "
        "a free port of its machine in MASTER_PORT\n"
    )


def test_processes_with_different_work(by_hand: Callable[..., Started]) -> None:
    run = by_hand(2, LONG, "1:grow")
    assert run.codes() == [PROCESS_ERROR, PROCESS_ERROR], run.printed
    (error,) = run.errors
    assert "process 1 of 2 came with 3 numbers where process 0 has 0: give every" in error


def test_a_process_of_torchrun_is_killed(torchrun: Callable[..., Started]) -> None:
    run = torchrun(3, LONG, "1:die")
    assert run.codes() == [1], run.printed
    (error,) = run.errors
    assert "process 1 of 3 ended" in error
    assert not run.out.exists()


def test_the_one_to_blame_ends_first(torchrun: Callable[..., Started]) -> None:
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
    torchrun: Callable[..., Started], number: signal.Signals, error: str
) -> None:
    run = torchrun(2, LONG, "1:work")
    begun = run.wait_until_met(2)
    # A terminal sends Ctrl-C to all of them, and torchrun passes on what it gets itself.
    (os.killpg if number == signal.SIGINT else os.kill)(run.processes[0].pid, number)
    assert run.codes() == [1], run.printed
    assert time.monotonic() - begun < SLACK_SECONDS
    assert run.errors == [error]


@pytest.fixture
def two_machines(started: Started) -> Iterator[tuple[Host, Host]]:
    """Two hosts joined by a cable."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with two_hosts() as hosts:
        yield hosts


def on_two_machines(
    started: Started, hosts: tuple[Host, Host], timeout: float, *deeds: str
) -> Started:
    for number, host in enumerate(hosts):
        started.start(
            host.command(
                *(sys.executable, *TORCHRUN, "--nnodes", 2, "--node-rank", number),
                *("--nproc-per-node", 1, "--master-addr", hosts[0].address),
                *("--master-port", 29500, WORKER, started.out, timeout, *deeds),
            ),
            {},
        )
    return started


def test_two_machines(started: Started, two_machines: tuple[Host, Host]) -> None:
    run = on_two_machines(started, two_machines, LONG)
    assert run.codes() == [0, 0], run.printed
    assert run.out.read_text() == f"2 {received(2)}"
    assert run.errors == []


def test_a_cable_that_is_pulled(started: Started, two_machines: tuple[Host, Host]) -> None:
    run = on_two_machines(started, two_machines, SHORT, "1:work")
    begun = run.wait_until_met(2)
    cut(two_machines[0])
    code = run.processes[0].wait(2 * LONG)
    assert code == 1, run.printed
    assert time.monotonic() - begun < SHORT + SLACK_SECONDS
    assert "process 1 of 2 ended, or did not answer within 8 s" in run.errors[0]
    assert not run.out.exists()
