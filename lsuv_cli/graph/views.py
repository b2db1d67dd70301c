"""Views of parameters: a parameter rearranged, or a part of it.

An exporter may put a Transpose, a Reshape or a Slice between a parameter and the node that uses it.
numpy's views do the same without copying, in both directions: a value written into a view is
written into the parameter, and elements that two views share stay tied.
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
    """A step that reorders the axes."""

    axes: tuple[int, ...]

    def __call__(self, array: Array) -> Array:
        """Return the view of an array."""
        return array.transpose(self.axes)


@dataclass(frozen=True, slots=True)
class Reshaped:
    """A step that keeps the elements and changes their shape."""

    shape: tuple[int, ...]

    def __call__(self, array: Array) -> Array:
        """Return the view of an array."""
        return array.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Sliced:
    """A step that selects elements by (start, stop, step) for each axis."""

    slices: tuple[Limits, ...]

    def __call__(self, array: Array) -> Array:
        """Return the view of an array."""
        return array[tuple(slice(*limits) for limits in self.slices)]

    def __str__(self) -> str:
        words = (["" if limit is None else str(limit) for limit in one] for one in self.slices)
        return f"[{', '.join(':'.join(w if w[2] else w[:2]) for w in words)}]"


ViewStep = Transposed | Reshaped | Sliced


@dataclass(frozen=True, slots=True)
class View:
    """A parameter, or what some steps make of it.

    Attributes:
        parameter: the parameter's name.
        steps: transpositions, reshapes and slices, in order; none for the parameter itself.
    """

    parameter: str
    steps: tuple[ViewStep, ...] = ()

    def of(self, array: Array) -> Array:
        """Return the view of the parameter's array, which shares its memory."""
        for step in self.steps:
            array = step(array)
        return array

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the view's shape, given the parameter's."""
        # Pages that are never touched take no memory.
        return tuple(self.of(np.empty(shape, np.int8)).shape)

    @property
    def part(self) -> str:
        """The part of the parameter that it is, in numpy's notation; "" for the whole."""
        return "".join(str(step) for step in self.steps if isinstance(step, Sliced))


def rows_of(part: Array, whole: Array) -> str | None:
    """Return the rows of an array that a view consists of, as `[3:5]`; "" for all of them.

    Args:
        part: a view of the array, with its elements in any order.
        whole: the array, C-contiguous, of bytes.

    Returns:
        None where the view is not made of whole, adjacent rows.
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
    """Return views by name, with each parameter as a view of itself."""
    return {name: View(name) for name in parameters} | dict(views)


def overlap(one: View, other: View, shape: tuple[int, ...]) -> bool:
    """Say whether two views have an element in common.

    Args:
        one: a view.
        other: another view.
        shape: the shape of the parameter that both are of; unused where there are two.
    """
    if one.parameter != other.parameter:
        return False
    elements = np.empty(shape, np.int8)  # pages that are never touched take no memory
    return np.may_share_memory(one.of(elements), other.of(elements)) and np.shares_memory(
        one.of(elements), other.of(elements)
    )
