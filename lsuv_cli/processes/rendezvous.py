"""The rendezvous: processes of a run meet, and agree on which of them reports an error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lsuv_cli.core.errors import ProcessError
from lsuv_cli.processes.failure_messages import (
    can_not_exchange,
    did_not_answer,
    did_not_come,
    still_working,
    unreachable,
)
from lsuv_cli.processes.heartbeats import Absence, Heartbeats
from lsuv_cli.processes.launch import Address, ProcessRank
from lsuv_cli.processes.shared_store import (
    RendezvousLostError,
    SharedStore,
    connect_store,
    hosts_store,
)

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

# After a failure the store's host waits this long for the others to learn who reports it.
LINGER_SECONDS = 3.0
POLL_SECONDS = 0.05
REPORTED, LEFT = "reported", "left"


class Rendezvous:
    """The processes of a run, met at a key-value store beside the exchange itself.

    Every process writes heartbeats there. An exchange that fails does not tell who is missing; they
    do. See docs/decisions/0013-heartbeats-beside-gloo.md.
    """

    def __init__(self, process: ProcessRank, address: Address, timeout_seconds: float) -> None:
        """Connect to the store, or host it.

        Raises:
            ProcessError: the address is taken, or nothing answers there in time.
        """
        self.process = process
        self.address = address
        self._timeout_seconds = timeout_seconds
        self._is_host = hosts_store(process, address)
        store = connect_store(process, address, timeout_seconds, listens=self._is_host)
        self._store = SharedStore(store)
        self._heartbeats = Heartbeats(self._store, process.rank, process.size)
        self._silent: set[int] = set()

    def wait_for_all(self) -> None:
        """Wait until every process has come.

        Raises:
            ProcessError: some have not come in time.
        """
        deadline = time.monotonic() + self._timeout_seconds
        self._heartbeats.start()
        try:
            while not self._heartbeats.are_complete():
                if time.monotonic() > deadline and (missing := self._heartbeats.missing()):
                    size, seconds = self.process.size, self._timeout_seconds
                    raise ProcessError(did_not_come(missing, size, seconds, self.address))
                time.sleep(POLL_SECONDS)
        except RendezvousLostError:
            raise ProcessError(self._unreachable()) from None

    def store_for_exchange(self) -> Store:
        """Return another connection to the store, for the exchange to set itself up with.

        While a connection waits for a key, no other call gets through it, and the others would miss
        this process's heartbeats.
        """
        from torch.distributed.distributed_c10d import PrefixStore

        store = connect_store(self.process, self.address, self._timeout_seconds)
        return PrefixStore("exchange", store)

    def arrive(self, step: int) -> None:
        """Record that this process has come to an exchange, counted from 1."""
        self._heartbeats.arrive(step)

    def why_failed(self, detail: str) -> str:
        """Return one sentence on why an exchange failed.

        Args:
            detail: what the exchange itself says.
        """
        try:
            return self._why_failed(detail)
        except KeyboardInterrupt:
            # A launcher ends all processes when one has died; the message must still say which.
            return self._why_failed(detail)

    def who_died(self) -> str | None:
        """Return one sentence on the processes that ended without leaving, if there are any."""
        try:
            silent = self._absence().silent
            died = [rank for rank in silent if not self._store.has(f"{LEFT}/{rank}")]
        except RendezvousLostError:
            return None
        return did_not_answer(died, self.process.size, self._timeout_seconds) if died else None

    def claim_error(self) -> bool:
        """Return whether this process is to report what went wrong: it is the first that asks.

        It is too where the store can't be asked: a sentence too many is better than none.
        """
        try:
            return self._store.count(REPORTED) == 1
        except RendezvousLostError:
            return True

    def leave(self, *, failed: bool) -> None:
        """Leave the rendezvous for good.

        After a failure the store's host waits a while for the others: without the store they can't
        learn that the error has been reported.
        """
        self._heartbeats.stop()
        if not failed:
            return
        away = {self.process.rank, *self._silent}
        others = [f"{LEFT}/{rank}" for rank in range(self.process.size) if rank not in away]
        try:
            self._store.put(f"{LEFT}/{self.process.rank}", "")
            deadline = time.monotonic() + LINGER_SECONDS
            while self._is_host and time.monotonic() < deadline:
                if self._store.has(*others):
                    return
                time.sleep(POLL_SECONDS)
        except RendezvousLostError:
            return

    def _unreachable(self) -> str:
        return unreachable(self.process.size, self.address, self._timeout_seconds)

    def _why_failed(self, detail: str) -> str:
        try:
            if self._store.has(REPORTED):
                return "another process of the run has failed"
            absence = self._absence()
        except RendezvousLostError:
            return self._unreachable()
        size, seconds = self.process.size, self._timeout_seconds
        if absence.silent:
            return did_not_answer(absence.silent, size, seconds)
        if absence.behind:
            return still_working(absence.behind, size, seconds)
        return can_not_exchange(size, detail)

    def _absence(self) -> Absence:
        absence = self._heartbeats.absence()
        self._silent.update(absence.silent)
        return absence
