"""Parameters seen through nodes that only rearrange them.

An exporter may put a Transpose, a Reshape or a Slice between a parameter and the node that uses it.
numpy's views do the same without copying, in both directions: what is written into a view is
written into the parameter, and what two views have in common stays tied.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

Array = NDArray[Any]
Limits = tuple[int | None, int | None, int | None]

EVERYTHING: Limits = (None, None, None)


@dataclass(frozen=True, slots=True)
class Transposed:
    """Axes in another order."""

    axes: tuple[int, ...]

    def __call__(self, array: Array) -> Array:
        """The view of an array."""
        return array.transpose(self.axes)


@dataclass(frozen=True, slots=True)
class Reshaped:
    """The same elements in another shape."""

    shape: tuple[int, ...]

    def __call__(self, array: Array) -> Array:
        """The view of an array."""
        return array.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Sliced:
    """Some of the elements: (start, stop, step) for each axis."""

    slices: tuple[Limits, ...]

    def __call__(self, array: Array) -> Array:
        """The view of an array."""
        return array[tuple(slice(*limits) for limits in self.slices)]

    def __str__(self) -> str:
        words = (["" if limit is None else str(limit) for limit in one] for one in self.slices)
        return f"[{', '.join(':'.join(w if w[2] else w[:2]) for w in words)}]"


ViewStep = Transposed | Reshaped | Sliced


@dataclass(frozen=True, slots=True)
class View:
    """How a value follows from a parameter.

    Attributes:
        parameter: the parameter's name.
        steps: what is done with it, in order; none where the value is the parameter itself.
    """

    parameter: str
    steps: tuple[ViewStep, ...] = ()

    def of(self, array: Array) -> Array:
        """The view of the parameter's array; shares its memory."""
        for step in self.steps:
            array = step(array)
        return array

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The view's shape, for a parameter of some shape."""
        # Never touched, so that it takes no memory.
        return tuple(self.of(np.empty(shape, np.int8)).shape)

    @property
    def part(self) -> str:
        """What part of the parameter it is, in numpy's notation; "" for the whole."""
        return "".join(str(step) for step in self.steps if isinstance(step, Sliced))


def rows_of(part: Array, whole: Array) -> str | None:
    """Which rows of an array a view of it is, `[3:5]`, however it shows them; "" for all of them.

    Args:
        part: a view of the array.
        whole: the array, C-contiguous, of bytes.

    Returns:
        None where it is not just some rows.
    """
    low, high = byte_bounds(part)
    if not part.size or high - low != part.size:
        return None
    start = low - byte_bounds(whole)[0]
    row = math.prod(whole.shape[1:])
    if start % row or part.size % row:
        return None
    if part.size == whole.size:
        return ""
    return f"[{start // row}:{(start + part.size) // row}]"


def with_whole(parameters: Iterable[str], views: Mapping[str, View]) -> dict[str, View]:
    """The views by name, each parameter being a view of itself."""
    return {name: View(name) for name in parameters} | dict(views)


def overlap(one: View, other: View, shape: tuple[int, ...]) -> bool:
    """Whether two views have an element in common.

    Args:
        one: a view.
        other: another.
        shape: the shape of the parameter they are of, if it is the same.
    """
    if one.parameter != other.parameter:
        return False
    elements = np.empty(shape, np.int8)  # never touched, so that it takes no memory
    return np.may_share_memory(one.of(elements), other.of(elements)) and np.shares_memory(
        one.of(elements), other.of(elements)
    )
