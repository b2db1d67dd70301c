"""Events as Python's warnings."""

from __future__ import annotations

import sys
import warnings

from lsuv_cli.core.errors import LsuvWarning
from lsuv_cli.core.events import Silent

PACKAGE = __name__.partition(".")[0]


class PythonWarnings(Silent):
    """Turns warnings into Python's, at the line that called this package; drops the rest."""

    def warn(self, text: str) -> None:
        """Warn of a line outside this package."""
        depth = 2
        frame = sys._getframe(1)  # noqa: SLF001 - as `warnings` itself finds who has called
        while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
            frame = frame.f_back
            depth += 1
        warnings.warn(text, LsuvWarning, stacklevel=depth)
