"""Processes of a run: started by a launcher or by hand, and ended with the test."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from support.namespaces import Host

PATIENCE = 120
NAP_SECONDS = 0.02
# The exit code of a process that another one failed.
PROCESS_ERROR = 6
# From the moment at which the time-out has passed: looking for signs of life, saying it, leaving.
SLACK_SECONDS = 20
FORK_SERVER = Path(__file__).parent / "fork_server.py"
TORCHRUN = ("-m", "torch.distributed.run")


class Forks:
    """Starts Python processes in which slow libraries are imported already.

    A context manager: in the end no more are started.
    """

    def __init__(self, *imported: str) -> None:
        """Start a server that imports these modules once."""
        self._server = subprocess.Popen(
            [sys.executable, FORK_SERVER, *imported],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.communicate(timeout=PATIENCE)

    def start(self, arguments: Sequence[str], **process: Any) -> Forked:
        """Start one that runs a script, or a module after `-m`; the rest is as with Popen."""
        return Forked(self, self.ask({"arguments": arguments, "process": process}))

    def ask(self, request: Mapping[str, Any]) -> Any:
        """Send a request and return the answer."""
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps(request), file=stdin, flush=True)
        return json.loads(stdout.readline())


@dataclass
class Forked:
    """A forked process, with the methods of Popen that are needed."""

    forks: Forks
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.forks.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired([str(self.pid)], timeout)
            time.sleep(NAP_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Processes:
    """The processes of a run, started by a launcher or by hand, and their output.

    A context manager: what still runs in the end is killed, together with its children.

    Attributes:
        cwd: where they run.
        started: all of them.
    """

    def __init__(self, forks: Forks, cwd: Path, prints: Path, **environ: str) -> None:
        """Start none yet; `prints` is a folder for what they print, `environ` is for all."""
        self.cwd = cwd
        self.started: list[subprocess.Popen[bytes] | Forked] = []
        self._forks = forks
        self._prints = prints
        clean = {name: value for name, value in os.environ.items() if "SLURM" not in name}
        self._environ = {**clean, **environ}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)

    def start(self, *command: object) -> None:
        """Start a command."""
        out, err = self._new_streams()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            self.started.append(
                subprocess.Popen(
                    list(map(str, command)),
                    cwd=self.cwd,
                    env=self._environ,
                    stdout=stdout,
                    stderr=stderr,
                    start_new_session=True,
                )
            )

    def fork(self, *arguments: object, **environ: object) -> None:
        """Start Python with these arguments, a script or `-m` and a module first."""
        out, err = self._new_streams()
        more = {name: str(value) for name, value in environ.items()}
        self.started.append(
            self._forks.start(
                list(map(str, arguments)),
                cwd=str(self.cwd),
                environ={**self._environ, **more},
                stdout=str(out),
                stderr=str(err),
            )
        )

    def torchrun(self, size: int, *program: object) -> None:
        """Start processes on this machine with torchrun."""
        self.fork(*TORCHRUN, "--standalone", "--nproc-per-node", size, *program)

    def torchrun_on(self, hosts: Sequence[Host], *program: object) -> None:
        """Start a process on each of several machines with torchrun."""
        for number, host in enumerate(hosts):
            self.start(
                *host.command(sys.executable, *TORCHRUN, "--nnodes", len(hosts)),
                *("--node-rank", number, "--nproc-per-node", 1),
                *("--master-addr", hosts[0].address, "--master-port", 29500, *program),
            )

    def by_hand(self, size: int, *program: object, ranks: Sequence[int] | None = None) -> None:
        """Start processes of all or some ranks without a launcher; {rank} stands for each rank."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        meeting = {"WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for rank in range(size) if ranks is None else ranks:
            arguments = [str(one).replace("{rank}", str(rank)) for one in program]
            self.fork(*arguments, RANK=rank, **meeting)

    def wait_for(self, beginning: str) -> None:
        """Wait for a line on the first process's stderr that begins like this."""
        deadline = time.monotonic() + PATIENCE
        _, err = self._streams(0)
        while not re.search(f"^{re.escape(beginning)}.*\n", err.read_text(), re.MULTILINE):
            assert self.started[0].poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            time.sleep(NAP_SECONDS)

    def codes(self, but: int | None = None) -> list[int]:
        """Wait for all processes but one that won't end; return their exit codes."""
        return [
            process.wait(PATIENCE) for number, process in enumerate(self.started) if number != but
        ]

    @property
    def stdout(self) -> str:
        """Standard output of all processes."""
        return "".join(self.stdout_of(number) for number in range(len(self.started)))

    @property
    def stderr(self) -> str:
        """Standard error of all processes."""
        return "".join(self.stderr_of(number) for number in range(len(self.started)))

    @property
    def printed(self) -> str:
        """Output of all processes, standard error last."""
        return self.stdout + self.stderr

    @property
    def errors(self) -> list[str]:
        """Error messages on standard error."""
        return re.findall(r"^error: (.*)$", self.stderr, re.MULTILINE)

    def stdout_of(self, number: int) -> str:
        """Return a process's standard output."""
        return self._streams(number)[0].read_text()

    def stderr_of(self, number: int) -> str:
        """Return a process's standard error."""
        return self._streams(number)[1].read_text()

    def _new_streams(self) -> tuple[Path, Path]:
        streams = self._streams(len(self.started))
        for path in streams:
            path.touch()
        return streams

    def _streams(self, number: int) -> tuple[Path, Path]:
        return self._prints / f"{number}.stdout", self._prints / f"{number}.stderr"
