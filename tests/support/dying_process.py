"""`lsuv` that dies as it is about to write a line of its resume journal.

Usage: dying_process.py RANK LINE init ...; the line is counted from 1, the head.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from unittest import mock

from lsuv_cli.cli.app import main
from lsuv_cli.runtime.resume_journal import ResumeJournal

# So that the others have written theirs.
DELAY_SECONDS = 1.0


def die_at(line: int) -> None:
    """Kill this process just before its resume journal writes a line."""
    write, written = ResumeJournal._write, [0]

    def dying(self: ResumeJournal, entry: object) -> None:
        written[0] += 1
        if written[0] == line:
            time.sleep(DELAY_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, entry)

    mock.patch.object(ResumeJournal, "_write", dying).start()


if __name__ == "__main__":
    _, rank, line, *arguments = sys.argv
    if os.environ["RANK"] == rank:
        die_at(int(line))
    sys.argv = ["lsuv", *arguments]
    main()
