"""The training benchmark runs from the command to its tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT

SCRIPT = ROOT / "benchmarks" / "training.py"
RESULTS = ROOT / "benchmarks" / "training.jsonl"


def test_a_tiny_grid(tmp_path: Path) -> None:
    out = tmp_path / "runs.jsonl"
    command = [sys.executable, "-W", "ignore", str(SCRIPT), "--out", str(out)]
    grid = [
        "--networks",
        "thin",
        "--depths",
        "10",
        "--activations",
        "relu",
        "--seeds",
        "2",
        "--rates",
        "0.01",
    ]
    budget = ["--steps", "4", "--batch", "4", "--every", "2", "--inits", "lsuv", "msra"]
    subprocess.run([*command, *grid, *budget], check=True)
    runs = [run for line in out.read_text().splitlines() if "network" in (run := json.loads(line))]
    assert [(run["init"], run["seed"]) for run in runs] == [
        *(("lsuv", 0), ("msra", 0)),
        *(("lsuv", 1), ("msra", 1)),
    ]
    assert all(len(run["validation"]) == 2 for run in runs)
    assert all(0 < run["loss"] < 10 for run in runs)


def test_the_committed_tables_are_those_of_the_committed_runs() -> None:
    printed = subprocess.run(
        [sys.executable, SCRIPT, "--table"], check=True, capture_output=True, text=True
    ).stdout
    assert (ROOT / "benchmarks" / "training.md").read_text().endswith(printed)
    assert RESULTS.stat().st_size < 1 << 20
