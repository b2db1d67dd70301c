"""Heartbeats: every process writes that it lives and how far it is, and reads those of others."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lsuv_cli.processes.shared_store import SharedStore

HEARTBEAT_SECONDS = 0.5
# A process without a heartbeat for this long is taken to be dead or stopped.
SILENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Absence:
    """The processes that were missing when an exchange failed.

    Attributes:
        silent: ranks of processes without a heartbeat.
        behind: ranks of processes that have not come to this exchange.
    """

    silent: Sequence[int]
    behind: Sequence[int]


class Heartbeats:
    """This process's heartbeats, written by a thread, and those of the others."""

    def __init__(self, store: SharedStore, rank: int, size: int) -> None:
        self._store = store
        self._rank = rank
        self._keys = [f"heartbeat/{other}" for other in range(size)]
        self._step = 0
        self._count = 0
        self._has_stopped = threading.Event()
        self._writing = threading.Lock()

    def start(self) -> None:
        """Write a heartbeat at once, and from now on regularly."""
        self.arrive(0)
        threading.Thread(target=self._repeat, daemon=True).start()

    def arrive(self, step: int) -> None:
        """Record that this process has come to an exchange, counted from 1."""
        self._step = step
        self._write()

    def stop(self) -> None:
        """Write no more."""
        self._has_stopped.set()

    def are_complete(self) -> bool:
        """Return whether every process has written a heartbeat.

        Raises:
            RendezvousLostError: the store does not answer.
        """
        return self._store.has(*self._keys)

    def missing(self) -> list[int]:
        """Return the ranks of the processes that have not written any heartbeat yet.

        Raises:
            RendezvousLostError: the store does not answer.
        """
        return [rank for rank, key in enumerate(self._keys) if not self._store.has(key)]

    def absence(self) -> Absence:
        """Listen for a while, and return who is missing.

        Raises:
            RendezvousLostError: the store does not answer.
        """
        before = self._store.values(*self._keys)
        time.sleep(SILENCE_SECONDS)
        after = self._store.values(*self._keys)
        others = [rank for rank in range(len(self._keys)) if rank != self._rank]
        steps = [int(heartbeat.split()[0]) for heartbeat in after]
        return Absence(
            silent=[rank for rank in others if after[rank] == before[rank]],
            behind=[rank for rank in others if steps[rank] < self._step],
        )

    def _repeat(self) -> None:
        while not self._has_stopped.wait(HEARTBEAT_SECONDS) and not self._store.is_lost:
            self._write()

    def _write(self) -> None:
        with self._writing:
            self._count += 1
            # This does not wait for an answer, so nothing can hold it up.
            self._store.send(self._keys[self._rank], f"{self._step} {self._count}")
