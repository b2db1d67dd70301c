"""The installed command, and the environment that it runs in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

COMMAND = Path(sys.executable).parent / "lsuv"

# A signal that breaks into coverage's own code leaves its lock taken, and the command hangs.
UNMEASURED = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE")}

Run = Callable[..., subprocess.CompletedProcess[str]]
