"""Runs of the pinned cases, with the code of any tree of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pins.cases import Case
from pins.models import MODELS

TREE = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 300
LSUV = ("-m", "lsuv_cli")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
WRITTEN = (0, 4)  # 4: some layer is not within the tolerance
LAUNCHERS = ("SLURM", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "OMPI_", "PMI_")


@dataclass(frozen=True)
class Step:
    """How a command of a case ended.

    Attributes:
        code: its exit code.
        document: the JSON on stdout, or None.
        stderr: what it said.
    """

    code: int
    document: Any
    stderr: str


@dataclass(frozen=True)
class Outcome:
    """What a case gave.

    Attributes:
        folder: the files that its commands wrote.
        steps: its commands, in order.
    """

    folder: Path
    steps: tuple[Step, ...]

    @property
    def failed(self) -> bool:
        """A command wrote nothing, or not what it should have."""
        return any(step.code not in WRITTEN for step in self.steps)

    @property
    def files(self) -> dict[str, Path]:
        """The files by name, in order."""
        return {path.name: path for path in sorted(self.folder.iterdir())}


class Runner(Protocol):
    """Runs a command in a folder, in one process or in several."""

    def __call__(
        self, arguments: Sequence[str], folder: Path, processes: int, /
    ) -> tuple[int, str, str]:
        """The exit code, and what is printed on stdout and stderr."""


@dataclass(frozen=True)
class TreeRunner:
    """Runs the command of the tree with this root, in processes of its own."""

    tree: Path

    @property
    def packages(self) -> Path:
        """The folder with the package; an installed one must not take the place of a tree's.

        Raises:
            FileNotFoundError: the tree has it somewhere else.
        """
        for folder in (self.tree, self.tree / "src"):
            if (folder / "lsuv_cli" / "__main__.py").is_file():
                return folder
        raise FileNotFoundError(f"no package lsuv_cli in {self.tree}")

    def __call__(
        self, arguments: Sequence[str], folder: Path, processes: int, /
    ) -> tuple[int, str, str]:
        """The exit code, and what is printed on stdout and stderr."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(LAUNCHERS)}
        launcher = LSUV if processes == 1 else (*TORCHRUN, str(processes), *LSUV)
        done = subprocess.run(
            [sys.executable, *launcher, *arguments],
            cwd=folder,
            # Else torchrun sets OMP_NUM_THREADS, with a warning; no case of one process reads it.
            env={**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.packages)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


def build_inputs(case: Case, folder: Path) -> None:
    """Write a case's model and samples into an empty folder."""
    folder.mkdir(parents=True)
    MODELS[case.model](folder)


def run_case(case: Case, inputs: Path, folder: Path, run: Runner) -> Outcome:
    """Run a case's commands.

    Args:
        case: what to run.
        inputs: a folder with the model and the samples; nothing is written there.
        folder: where the commands run; it must not exist. The inputs are removed in the end.
        run: runs one command.
    """
    shutil.copytree(inputs, folder)
    steps = []
    for command in case.commands:
        code, stdout, stderr = run(command.split(), folder, case.processes)
        # A command that fails may have printed half a document.
        document = json.loads(stdout) if stdout and code in WRITTEN else None
        steps.append(Step(code, document, stderr))
    for path in inputs.iterdir():
        given = folder / path.name
        if given.is_dir():
            shutil.rmtree(given)
        else:
            given.unlink()
    return Outcome(folder, tuple(steps))
