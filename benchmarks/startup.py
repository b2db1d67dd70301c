"""How long the command takes to start, beside Python and the libraries it is made of.

python benchmarks/startup.py

Whole processes, timed in turn, each with its ratio to `python -c 'import onnx'`, which says more
than seconds on a machine that others use too. Also checks that none of these paths imports torch.
Goals: `lsuv --help` within 0.3 s, `lsuv inspect` of GoogLeNet within 1 s.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import common

MODEL = "fitnet1"
COUNT = 32
INSPECTED = "googlenet"

UNIT = "python -c 'import onnx'"
HELP = "lsuv --help"
INSPECT = f"lsuv inspect {INSPECTED}"
GOALS = {HELP: 0.3, INSPECT: 1.0}


def imports_torch(arguments: Sequence[str]) -> bool:
    """Whether `lsuv` imports torch on the way, by Python's own log of imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lsuv_cli", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return re.search(r"\|\s+torch$", done.stderr, re.MULTILINE) is not None


def main() -> None:
    """Time every command."""
    parser = argparse.ArgumentParser(description="Time starting up.")
    parser.add_argument("--rounds", type=int, default=7, help="processes of each kind")
    rounds = parser.parse_args().rounds
    case = common.case(MODEL, COUNT)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "init.safetensors")
        lsuv = {
            "lsuv --version": [common.executable(), "--version"],
            HELP: [common.executable(), "--help"],
            "lsuv init --help": [common.executable(), "init", "--help"],
            INSPECT: [common.executable(), "inspect", str(common.case(INSPECTED).model)],
            f"lsuv init {MODEL}, {COUNT} images": case.command(out),
            f"lsuv init {MODEL}, {COUNT} images, --no-verify": case.command(out, "--no-verify"),
        }
        beside = {
            f"python -c '{statement}'": [sys.executable, "-c", statement]
            for statement in ("pass", "import onnx", "import onnxruntime", "import torch")
        }
        commands = beside | lsuv

        def runner(command: list[str]) -> Callable[[], object]:
            return lambda: common.captured(command)

        works = [(label, runner(command)) for label, command in commands.items()]
        common.interleaved(works, 1)  # fills the caches of files and of compiled modules
        seconds = common.interleaved(works, rounds)
        torch = {label: imports_torch(command[1:]) for label, command in lsuv.items()}
    common.print_table(
        f"Whole processes, seconds of {rounds} timed in turn",
        ["command", "least", "median", f"times {UNIT}", "goal", "imports torch"],
        [
            [
                label,
                f"{min(seconds[label]):.3f}",
                f"{statistics.median(seconds[label]):.3f}",
                f"{common.median_ratio(seconds[label], seconds[UNIT]):.2f}",
                (
                    f"{GOALS[label]} s: {common.verdict(min(seconds[label]) <= GOALS[label])}"
                    if label in GOALS
                    else ""
                ),
                ("YES" if torch[label] else "no") if label in torch else "",
            ]
            for label in commands
        ],
    )
    if any(torch.values()):
        sys.exit("torch is imported where it is not needed")


if __name__ == "__main__":
    main()
