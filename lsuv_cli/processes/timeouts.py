"""Time limits for calls that may never return."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def call_within(seconds: float, call: Callable[[], T]) -> T:
    """Return what a call returns, or raise what it raises, if it does so in time.

    It runs in a thread of its own: Python delivers Ctrl-C and SIGTERM to the main thread only
    between its own instructions, never inside a blocking call of a library's. A call that is late
    is left behind; the thread does not keep the process from ending.

    Raises:
        TimeoutError: the call is late.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  (it is raised again where it is awaited)
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(timeout=seconds)


def keep_alive(thing: object) -> None:
    """Keep an object from being destroyed, also while the interpreter ends.

    A daemon thread's variables are the only ones the interpreter does not clear.
    """

    def hold(_thing: object) -> None:
        threading.Event().wait()

    threading.Thread(target=hold, args=(thing,), daemon=True).start()
