"""The installed command, running while a test does something to it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from support.command import COMMAND, UNMEASURED

PATIENCE = 120


class Background:
    """A run of the command whose stderr is read line by line."""

    def __init__(self, *arguments: object, cwd: Path, **more: Any) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"env": UNMEASURED, **more},
        )

    def wait_for(self, beginning: str) -> None:
        """Wait for a line that begins like this."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(beginning):
                return
        raise AssertionError("\n".join(self.lines))

    def end(self) -> subprocess.CompletedProcess[str]:
        """Wait for the end; everything it printed."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE)
        everything = "".join(f"{line}\n" for line in self.lines) + stderr
        return subprocess.CompletedProcess([], self.process.returncode, stdout, everything)
