"""Limits on the resources of a process."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable


def limit_files(size: int) -> Callable[[], None]:
    """Return a `preexec_fn` that makes files fail at a size in bytes, as a full disk does."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit
