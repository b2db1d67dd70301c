"""The key-value store that all processes of a run share, with a time limit on its answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from lsuv_cli.core.errors import ProcessError
from lsuv_cli.processes.failure_messages import can_not_listen, unreachable
from lsuv_cli.processes.launch import Address, ProcessRank
from lsuv_cli.processes.network import wait_for_listener
from lsuv_cli.processes.timeouts import call_within

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

ANSWER_SECONDS = 3.0
LOOPBACK = "127.0.0.1"


class RendezvousLostError(Exception):
    """Raised when the shared store does not answer any more."""


class SharedStore:
    """A store whose answers are waited for a few seconds only.

    After the first answer that does not come, it is not asked again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_lost = False

    @property
    def is_lost(self) -> bool:
        """Return whether an answer is missing."""
        return self._is_lost

    def has(self, *keys: str) -> bool:
        """Return whether all of some keys are there.

        Raises:
            RendezvousLostError: the store does not answer.
        """
        return self._ask(lambda: self._store.check(list(keys)))

    def values(self, *keys: str) -> list[bytes]:
        """Return the values of some keys that are there.

        Raises:
            RendezvousLostError: the store does not answer.
        """
        return self._ask(lambda: self._store.multi_get(list(keys)))

    def count(self, key: str) -> int:
        """Return how many times processes have called this for a key, this time included.

        Raises:
            RendezvousLostError: the store does not answer.
        """
        return self._ask(lambda: self._store.add(key, 1))

    def put(self, key: str, text: str) -> None:
        """Set a key's value.

        Raises:
            RendezvousLostError: the store does not answer.
        """
        self._ask(lambda: self._store.set(key, text))

    def send(self, key: str, text: str) -> None:
        """Set a key's value without waiting for an answer; where that fails, the store is lost."""
        try:
            self._store.set(key, text)
        except RuntimeError:
            self._is_lost = True

    def _ask(self, call: Callable[[], T]) -> T:
        # torch's own time-out does not help where the process that hosts the store is stopped:
        # after the wait it asks to cancel the question, and waits for the answer to that.
        if self._is_lost:
            raise RendezvousLostError
        try:
            return call_within(ANSWER_SECONDS, call)
        except (RuntimeError, TimeoutError) as error:
            self._is_lost = True
            raise RendezvousLostError from error


def hosts_store(process: ProcessRank, address: Address) -> bool:
    """Return whether a process is the one that listens at the address."""
    return process.rank == 0 and not address.is_hosted_by_launcher


def connect_store(
    process: ProcessRank, address: Address, timeout_seconds: float, *, listens: bool = False
) -> Store:
    """Connect to the store at an address.

    Args:
        process: this process's rank.
        address: where the store is.
        timeout_seconds: how long to wait for it.
        listens: whether this process is to host it.

    Raises:
        ProcessError: the address is taken, or nothing answers there in time.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]
    from torch.distributed.distributed_c10d import PrefixStore

    # The address may be one that the other machines know and this one can't reach itself by.
    is_host = hosts_store(process, address)
    host = LOOPBACK if is_host else address.host

    def connect() -> Store:
        store: Store = TCPStore(
            host,
            address.port,
            process.size,
            is_master=listens,
            timeout=timedelta(seconds=timeout_seconds),
            wait_for_workers=False,
            multi_tenant=True,
        )
        return store

    try:
        if not is_host:
            wait_for_listener(address, timeout_seconds)
        store = call_within(timeout_seconds + ANSWER_SECONDS, connect)
    except (OSError, RuntimeError) as error:
        if listens:
            reason = str(error).rpartition("message: ")[2] or type(error).__name__
            raise ProcessError(can_not_listen(address, reason)) from error
        raise ProcessError(unreachable(process.size, address, timeout_seconds)) from error
    return PrefixStore(f"lsuv/{address.attempt}", store)
