"""Where the processes of a run meet: who is there, who has died, who says what went wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from lsuv_cli.core.errors import ProcessError
from lsuv_cli.processes.diagnosis import (
    Absence,
    cut_off,
    gone,
    late,
    no_listener,
    not_started,
    unreachable,
)
from lsuv_cli.processes.launch import Address, ProcessRank
from lsuv_cli.processes.network import wait_for_listener
from lsuv_cli.processes.timeouts import call_within

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

PULSE_SECONDS = 0.5
SILENCE_SECONDS = 2.0
ANSWER_SECONDS = 3.0
FAREWELL_SECONDS = 3.0
POLL_SECONDS = 0.05
LOOPBACK = "127.0.0.1"
TOLD, LEFT = "told", "left"


class RendezvousLostError(Exception):
    """The meeting point does not answer any more."""


class Rendezvous:
    """A key-value store that every process of the run reaches, beside the exchange itself.

    Every process writes there how far it has come, and that it still lives. What the exchange
    can't tell when it fails, namely who is missing, can then be read.
    """

    def __init__(self, process: ProcessRank, address: Address, timeout_seconds: float) -> None:
        self.process = process
        self.address = address
        self._timeout_seconds = timeout_seconds
        self._store = self._connect(listens=self._is_host)
        self._step = 0
        self._beats = 0
        self._is_lost = False
        self._silent: set[int] = set()
        self._has_left = threading.Event()
        self._writing = threading.Lock()
        self._pulse = threading.Thread(target=self._keep_pulse, daemon=True)

    def wait_for_all(self) -> None:
        """Wait until every process has come.

        Raises:
            ProcessError: some have not come in time.
        """
        deadline = time.monotonic() + self._timeout_seconds
        self.arrive(0)
        self._pulse.start()
        keys = [self._pulse_key(rank) for rank in range(self.process.size)]
        try:
            while not self._has(*keys):
                if time.monotonic() > deadline:
                    missing = [rank for rank, key in enumerate(keys) if not self._has(key)]
                    raise ProcessError(
                        not_started(missing, self.process.size, self._timeout_seconds, self.address)
                    )
                time.sleep(POLL_SECONDS)
        except RendezvousLostError:
            raise ProcessError(self._unreachable()) from None

    def store_for_exchange(self) -> Store:
        """A store of its own for the exchange to set itself up with.

        While a store's connection waits for a key, no other call gets through it, and the others
        would miss this process's pulse.
        """
        from torch.distributed.distributed_c10d import PrefixStore

        return PrefixStore("exchange", self._connect())

    def arrive(self, step: int) -> None:
        """Write down that this process has come to an exchange, counted from 1."""
        self._step = step
        self._write_pulse()

    def why_failed(self, detail: str) -> str:
        """One sentence: why an exchange failed.

        Args:
            detail: what the exchange itself says.
        """
        try:
            return self._why_failed(detail)
        except KeyboardInterrupt:
            # A launcher ends all processes when one has died; it still has to be said which.
            return self._why_failed(detail)

    def who_died(self) -> str | None:
        """One sentence on the processes that are gone without having taken their leave, if any."""
        try:
            silent = self._absence().silent
            died = [rank for rank in silent if not self._has(f"{LEFT}/{rank}")]
        except RendezvousLostError:
            return None
        return gone(died, self.process.size, self._timeout_seconds) if died else None

    def claim_error(self) -> bool:
        """Whether this process is to say what went wrong: it is the first that asks.

        Also where the others can't be asked: a sentence too many is better than none.
        """
        try:
            return self._ask(lambda: self._store.add(TOLD, 1)) == 1
        except RendezvousLostError:
            return True

    def leave(self, *, failed: bool) -> None:
        """Leave for good.

        The process in which the store lives waits a while for the others after a failure, since
        they can't learn without it that what went wrong has been told.
        """
        self._has_left.set()
        if not failed:
            return
        away = {self.process.rank, *self._silent}
        others = [f"{LEFT}/{rank}" for rank in range(self.process.size) if rank not in away]
        try:
            self._ask(lambda: self._store.set(f"{LEFT}/{self.process.rank}", ""))
            deadline = time.monotonic() + FAREWELL_SECONDS
            while self._is_host and time.monotonic() < deadline:
                if self._has(*others):
                    return
                time.sleep(POLL_SECONDS)
        except RendezvousLostError:
            return

    @property
    def _is_host(self) -> bool:
        return self.process.rank == 0 and not self.address.is_hosted_by_launcher

    def _connect(self, *, listens: bool = False) -> Store:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]
        from torch.distributed.distributed_c10d import PrefixStore

        # The way back to itself may be one that the others' network knows and this machine not.
        host = LOOPBACK if self._is_host else self.address.host

        def connect() -> Store:
            store: Store = TCPStore(
                host,
                self.address.port,
                self.process.size,
                is_master=listens,
                timeout=timedelta(seconds=self._timeout_seconds),
                wait_for_workers=False,
                multi_tenant=True,
            )
            return store

        try:
            if not self._is_host:
                wait_for_listener(self.address, self._timeout_seconds)
            store = call_within(self._timeout_seconds + ANSWER_SECONDS, connect)
        except (OSError, RuntimeError) as error:
            if listens:
                reason = str(error).rpartition("message: ")[2] or type(error).__name__
                raise ProcessError(no_listener(self.address, reason)) from error
            raise ProcessError(self._unreachable()) from error
        return PrefixStore(f"lsuv/{self.address.attempt}", store)

    def _unreachable(self) -> str:
        return unreachable(self.process.size, self.address, self._timeout_seconds)

    def _why_failed(self, detail: str) -> str:
        try:
            if self._has(TOLD):
                return "another process of the run has failed"
            absence = self._absence()
        except RendezvousLostError:
            return self._unreachable()
        size, seconds = self.process.size, self._timeout_seconds
        if absence.silent:
            return gone(absence.silent, size, seconds)
        if absence.behind:
            return late(absence.behind, size, seconds)
        return cut_off(size, detail)

    def _has(self, *keys: str) -> bool:
        return self._ask(lambda: self._store.check(list(keys)))

    def _absence(self) -> Absence:
        before = self._pulses()
        time.sleep(SILENCE_SECONDS)
        after = self._pulses()
        others = [rank for rank in range(self.process.size) if rank != self.process.rank]
        steps = [int(pulse.split()[0]) for pulse in after]
        silent = [rank for rank in others if after[rank] == before[rank]]
        self._silent.update(silent)
        return Absence(
            silent,
            behind=[rank for rank in others if steps[rank] < self._step],
        )

    def _pulses(self) -> list[bytes]:
        keys = [self._pulse_key(rank) for rank in range(self.process.size)]
        return self._ask(lambda: self._store.multi_get(keys))

    def _pulse_key(self, rank: int) -> str:
        return f"pulse/{rank}"

    def _keep_pulse(self) -> None:
        while not self._has_left.wait(PULSE_SECONDS) and not self._is_lost:
            self._write_pulse()

    def _write_pulse(self) -> None:
        with self._writing:
            self._beats += 1
            text = f"{self._step} {self._beats}"
            try:
                # This sends and does not wait for an answer, so that it needs no patience.
                self._store.set(self._pulse_key(self.process.rank), text)
            except RuntimeError:
                self._is_lost = True

    def _ask(self, call: Callable[[], T]) -> T:
        # torch's own time-out does not help where the process in which the store lives is stopped:
        # having waited, it asks to cancel the question, and waits for the answer to that.
        if self._is_lost:
            raise RendezvousLostError
        try:
            return call_within(ANSWER_SECONDS, call)
        except (RuntimeError, TimeoutError) as error:
            self._is_lost = True
            raise RendezvousLostError from error
