"""Arrays that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray


class LazyArrays(Mapping[str, NDArray[Any]]):
    """The arrays in a file by name, each read every time it is asked for."""

    def __init__(self, names: Sequence[str], read: Callable[[str], NDArray[Any]]) -> None:
        """Read nothing yet.

        Args:
            names: of the arrays, in their order.
            read: returns the array of a name.
        """
        self._names = names
        self._read = read

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
