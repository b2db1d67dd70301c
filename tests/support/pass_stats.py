"""Counters of work that the command prints with `--verbose`."""

from __future__ import annotations

import re
import subprocess


def pass_stats(process: subprocess.CompletedProcess[str]) -> tuple[int, int, int]:
    """Return node executions, those of them that were repeated, and bytes written to disk."""
    pattern = (
        r"^([\d,]+) node executions, ([\d,]+) of them repeated; ([\d,]+) bytes written to disk$"
    )
    ((executions, repeated, spilled),) = re.findall(pattern, process.stderr, re.MULTILINE)
    return tuple(int(text.replace(",", "")) for text in (executions, repeated, spilled))  # type: ignore[return-value]
