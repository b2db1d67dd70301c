"""Runs of the command in forked processes, whose deaths are findings like others."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import typer.main

from fuzz.cases import KINDS
from lsuv_cli.cli import app as cli

CODES = (0, 2, 3, 4, 5)
WITHOUT_ERROR = (0, 4)
OUTPUTS = frozenset(("out.safetensors", "out.onnx"))
CASES_A_PROCESS = 50
SECONDS = 60.0
# More than a small model takes, and less than the machine has.
MEMORY_BYTES = 6 * 2**30
TAIL = 600


@dataclass(frozen=True, slots=True)
class Result:
    """What a case ended in.

    Attributes:
        kind: of the damage.
        number: of the case.
        line: the command line.
        code: the exit code; None where it has none.
        problem: the promise that was broken; "" for none.
        said: the end of what was printed on stderr.
    """

    kind: str
    number: int
    line: list[str]
    code: int | None
    problem: str
    said: str


def run_cases(kind: str, seed: int, numbers: Iterable[int], seeds: Path) -> Iterator[Result]:
    """Run cases, each in a new folder; yield their results.

    Args:
        kind: of the damage.
        seed: the same seed and number make the same case.
        numbers: of the cases.
        seeds: a folder with the kind's sound files.
    """
    waiting = list(numbers)
    while waiting:
        chunk, waiting = waiting[:CASES_A_PROCESS], waiting[CASES_A_PROCESS:]
        done = 0
        for result in _forked(kind, seed, chunk, seeds):
            done += 1
            yield result
        waiting = chunk[done:] + waiting


def _forked(kind: str, seed: int, numbers: list[int], seeds: Path) -> Iterator[Result]:
    """Run cases in a new process up to one that it does not survive, or all."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, kind, seed, numbers, seeds))
    with tempfile.TemporaryDirectory(prefix="lsuv-fuzz-") as root:
        os.environ["LSUV_FUZZ_ROOT"] = root
        process.start()
        there.close()
        for number in numbers:
            line: list[str] = []
            try:
                line = _received(here)
                yield _received(here)
            except (EOFError, TimeoutError) as error:
                slow = isinstance(error, TimeoutError)
                if slow:
                    process.kill()
                process.join()
                problem = f"over {SECONDS:g} s" if slow else f"died: {process.exitcode}"
                printed = Path(root, "stderr")
                said = printed.read_text(errors="replace")[-TAIL:] if printed.exists() else ""
                yield Result(kind, number, line, None, problem, said)
                return
        process.join()


def _received(here: Connection) -> Any:
    """Return what the process sends next.

    Raises:
        EOFError: it has ended.
        TimeoutError: it takes too long.
    """
    if not here.poll(SECONDS):
        raise TimeoutError
    return here.recv()


def _answer(there: Connection, kind: str, seed: int, numbers: list[int], seeds: Path) -> None:
    root = Path(os.environ.pop("LSUV_FUZZ_ROOT"))
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * os.sysconf(
        "SC_PAGE_SIZE"
    )
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Typer builds all commands for each call, which takes longer than many a case.
    typer.main.get_command = functools.cache(typer.main.get_command)
    for number in numbers:
        rng = random.Random(f"{seed}/{kind}/{number}")
        folder = root / "case"
        folder.mkdir()
        line = KINDS[kind].prepare(seeds, folder, rng)
        there.send(line)
        code, said, left = _run(root, folder, line)
        result = Result(kind, number, line, code, problem_of(code, said, left), said[-TAIL:])
        shutil.rmtree(folder)
        there.send(result)
    there.close()
    os._exit(0)


def _run(root: Path, folder: Path, line: list[str]) -> tuple[int, str, list[str]]:
    """Run the command; return its exit code, what it printed on stderr, and new files."""
    temporary = root / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None
    before = {path.relative_to(folder) for path in folder.rglob("*")}
    os.chdir(folder)
    with (root / "stdout").open("wb") as stdout, (root / "stderr").open("wb") as stderr:
        for number, file in ((1, stdout), (2, stderr)):
            os.dup2(file.fileno(), number)
        # Whoever forked may have replaced them.
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.argv = ["lsuv", *line]
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001 # the interpreter would print it, and exit with 1
            traceback.print_exc()
            code = 1
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    after = {path.relative_to(folder) for path in folder.rglob("*")}
    left = [str(path) for path in after - before]
    # PyTorch keeps a cache there, by which it is quicker next time.
    others = (path for path in temporary.iterdir() if "torchinductor" not in path.name)
    left += [f"tmp/{path.name}" for path in others]
    return code, (root / "stderr").read_text(errors="replace"), left


def problem_of(code: int, said: str, left: list[str]) -> str:
    """Return the promise that a run broke, or ""."""
    errors = [text for text in said.splitlines() if text.startswith("error: ")]
    if "Traceback (most recent call last)" in said:
        return f"traceback: {said.strip().splitlines()[-2][:160]}"
    if code not in CODES:
        return f"exit code {code}"
    if len(errors) != (code not in WITHOUT_ERROR):
        return f"exit code {code}, {len(errors)} errors"
    if log := re.search(r"\[[EF]:onnxruntime.*", said):
        return f"a library's log: {log[0][:160]}"
    allowed = OUTPUTS if code in WITHOUT_ERROR else frozenset()
    unexpected = sorted(set(left) - allowed)
    return f"left behind: {', '.join(unexpected)}" if unexpected else ""


def as_json(result: Result) -> str:
    """Return a line of JSON."""
    values: dict[str, Any] = asdict(result)
    return json.dumps(values)
