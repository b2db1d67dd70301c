"""Loading of batches, one ahead of the one in use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Self, TypeVar

Loaded = TypeVar("Loaded")


class Prefetch(Generic[Loaded]):
    """Yields batches with what a function loads for them, the next one loaded meanwhile.

    A context manager: when it is left, nothing more is loaded.

    Attributes:
        waited_seconds: how long the last batch that was yielded had to be waited for.
    """

    def __init__(self, load: Callable[[int], Loaded], batches: Sequence[int]) -> None:
        """Begin with nothing loaded.

        Args:
            load: loads a batch by its number; runs on a thread of its own.
            batches: the numbers, in the order of their use.
        """
        self.waited_seconds = 0.0
        self._load = load
        self._batches = batches
        self._pool = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __iter__(self) -> Iterator[tuple[int, Loaded]]:
        loading = self._pool.submit(self._load, self._batches[0])
        for number, batch in enumerate(self._batches):
            began = time.monotonic()
            loaded = loading.result()
            self.waited_seconds = time.monotonic() - began
            if number + 1 < len(self._batches):
                loading = self._pool.submit(self._load, self._batches[number + 1])
            yield batch, loaded
