"""A short run of the fuzzer, and that it finds what it looks for; `make fuzz` is the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.cases import KINDS
from fuzz.runner import problem_of
from support.command import UNMEASURED

CASES = 25
SEED = 20261201


def test_damaged_files_end_in_a_sentence(tmp_path: Path) -> None:
    """In a process of its own: those it forks would miss threads that torch has started here."""
    tests = Path(__file__).parent.parent
    process = subprocess.run(
        [sys.executable, "-m", "fuzz.run", "--cases", str(CASES), "--seed", str(SEED)],
        cwd=tmp_path,
        env={**UNMEASURED, "PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    for kind in KINDS:
        progress = tmp_path / ".fuzz" / f"{kind}.{SEED}.json"
        figures = json.loads(progress.read_text(encoding="utf-8"))
        assert (figures["done"], figures["findings"]) == (CASES, 0)
        assert len(figures["codes"]) > 1


@pytest.mark.parametrize(
    ("code", "said", "left", "words"),
    [
        (0, "", ["out.safetensors"], ""),
        (3, "error: bad\n", [], ""),
        (3, "warning: x\nerror: bad\n", ["out.safetensors"], "left behind"),
        (3, "error: bad\nerror: worse\n", [], "2 errors"),
        (0, "error: bad\n", [], "1 errors"),
        (1, "Traceback (most recent call last)\n  x\nKeyError: 'a'\nnote\n", [], "KeyError"),
        (139, "", [], "exit code 139"),
        (0, "", ["tmp/x"], "left behind: tmp/x"),
    ],
)
def test_broken_promises_are_seen(code: int, said: str, left: list[str], words: str) -> None:
    problem = problem_of(code, said, left)
    assert (words in problem) if words else not problem
