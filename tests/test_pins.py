"""The pinned cases: results that hold on every machine; see `tests/pins/compare.py` for bytes."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lsuv_cli.__main__ import main
from pins.cases import CASES, Case
from pins.running import TREE, TreeRunner, build_inputs, run_case
from pins.table import deviations, read_table, summary

SHOWN = 10
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def as_before() -> Iterator[None]:
    """Puts back what the command changes in its process."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    unraisable = sys.unraisablehook
    yield
    sys.unraisablehook = unraisable
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run_here(arguments: Sequence[str], folder: Path, processes: int) -> tuple[int, str, str]:
    """Run the command in this process, which has imported the libraries; several by torchrun."""
    if processes > 1:
        return TreeRunner(TREE)(arguments, folder, processes)
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["lsuv", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), stdout.getvalue(), stderr.getvalue()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.processes] if case.processes > 1 else [])
        for case in CASES
    ],
    ids=lambda case: case.name,
)
def test_results_are_those_of_the_table(tmp_path: Path, as_before: None, case: Case) -> None:
    build_inputs(case, tmp_path / "inputs")
    outcome = run_case(case, tmp_path / "inputs", tmp_path / "outputs", run_here)
    expected = read_table()[case.name]
    found = list(deviations(expected, summary(outcome), case.rounding))
    assert not found, "\n".join([*found[:SHOWN], *(step.stderr for step in outcome.steps)])


def test_the_table_has_the_cases_and_no_others() -> None:
    assert list(read_table()) == [case.name for case in CASES]
