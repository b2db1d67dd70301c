"""The arithmetic of a scale rule: on numpy arrays, and on values of a graph."""

from __future__ import annotations

from typing import Any, Protocol, Self, TypeVar

import numpy as np

from lsuv_cli.core.moments import Float64Array


class Number(Protocol):
    """A value that a scale rule computes with: a numpy array, or a value of a graph."""

    def __add__(self, other: Any, /) -> Self: ...
    def __sub__(self, other: Any, /) -> Self: ...
    def __mul__(self, other: Any, /) -> Self: ...
    def __truediv__(self, other: Any, /) -> Self: ...
    def __rsub__(self, other: Any, /) -> Self: ...
    def __rtruediv__(self, other: Any, /) -> Self: ...


N = TypeVar("N", bound=Number)


class Mathematics(Protocol[N]):
    """The functions that a scale rule computes with.

    numpy evaluates the same formulas that are written as nodes into the swept graph; a protocol
    lets one text serve both, so that the two can't drift apart.
    """

    def sqrt(self, x: N) -> N:
        """Return the square root, element by element."""

    def mean(self, x: N) -> N:
        """Return the mean over all elements, a scalar."""

    def where_greater(self, x: N, bound: Any, chosen: N, otherwise: Any) -> N:
        """Return `chosen` where x > bound, else `otherwise` (also where x is not a number).

        `chosen` must be finite everywhere, also where it is not chosen.
        """


class NumpyMathematics:
    """The functions of a scale rule on float64 arrays."""

    def sqrt(self, x: Float64Array) -> Float64Array:
        """Return the square root, element by element."""
        return np.sqrt(x)

    def mean(self, x: Float64Array) -> Float64Array:
        """Return the mean over all elements, a scalar."""
        return np.asarray(np.mean(x), dtype=np.float64)

    def where_greater(
        self, x: Float64Array, bound: Any, chosen: Float64Array, otherwise: Any
    ) -> Float64Array:
        """Return `chosen` where x > bound, else `otherwise`."""
        return np.where(x > bound, chosen, otherwise)


NUMPY = NumpyMathematics()
