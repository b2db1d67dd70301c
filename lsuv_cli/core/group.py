"""The processes that share the samples, and what they tell each other."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Group(Protocol):
    """The processes of one run.

    Attributes:
        rank: this process's number.
        size: how many there are.
    """

    rank: int
    size: int

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Every process's vector, in the order of their ranks; all of one length."""

    def gather_text(self, text: str) -> list[str]:
        """Every process's text, in the order of their ranks."""


class Alone:
    """A run of one process."""

    rank = 0
    size = 1

    def gather(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """What was given."""
        return [values]

    def gather_text(self, text: str) -> list[str]:
        """What was given."""
        return [text]


def total_of(count: int, group: Group) -> int:
    """The sum of every process's count."""
    return int(np.sum(group.gather(np.array([count], np.float64))))
