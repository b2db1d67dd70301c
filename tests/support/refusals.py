"""The check on how the command reports an error."""

from __future__ import annotations

import subprocess


def check_refused(process: subprocess.CompletedProcess[str], code: int, words: str) -> str:
    """Check the exit code and that one error is printed, with `words`; return the error's line."""
    assert process.returncode == code, process.stderr
    assert process.stdout == ""
    assert "Traceback" not in process.stderr
    errors = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, process.stderr
    assert process.stderr.splitlines()[-1] == errors[0]
    assert words in errors[0]
    return errors[0]
