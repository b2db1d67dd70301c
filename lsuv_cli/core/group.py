"""The processes of one run, as the engine sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

# `lsuv --help` imports this module, and shall not wait for numpy.
if TYPE_CHECKING:
    from lsuv_cli.core.moments import Float64Array


class Group(Protocol):
    """The processes that work on one run, of which this is one.

    Every process must call the same gathers in the same order.
    """

    @property
    def rank(self) -> int:
        """This process's number, from 0."""

    @property
    def size(self) -> int:
        """Return the number of processes."""

    @property
    def is_first(self) -> bool:
        """Return whether this is the process that writes and reports."""

    @property
    def bytes_exchanged(self) -> int:
        """Bytes that this process has received from the others so far."""

    def gather(self, values: Float64Array) -> list[Float64Array]:
        """Return every process's vector, in the order of their ranks.

        The list is the same in every process, bit for bit, so that whatever is computed from it in
        its order comes out the same everywhere.

        Args:
            values: (n,) float64, of the same n in every process.

        Returns:
            `size` arrays, (n,) float64.

        Raises:
            ProcessError: another process failed, did not answer, or has another n.
        """

    def gather_text(self, text: str) -> list[str]:
        """Return every process's text, in the order of their ranks; lengths may differ.

        Raises:
            ProcessError: another process failed or did not answer.
        """


class SingleProcess:
    """The one process of a run that has no others."""

    rank = 0
    size = 1
    is_first = True
    bytes_exchanged = 0

    def gather(self, values: Float64Array) -> list[Float64Array]:
        """Return the vector as the only one.

        Args:
            values: (n,) float64.
        """
        return [values]

    def gather_text(self, text: str) -> list[str]:
        """Return the text as the only one."""
        return [text]


def total_of(count: int, group: Group) -> int:
    """Return the sum of the counts of all processes."""
    import numpy as np

    return int(np.sum(group.gather(np.array([count], np.float64))))
