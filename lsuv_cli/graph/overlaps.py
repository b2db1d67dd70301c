"""Views of one parameter that have elements in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.array_utils import byte_bounds

from lsuv_cli.graph.views import View


class Overlaps:
    """Tells which of some views of a parameter overlap.

    Example:
        >>> from lsuv_cli.graph.views import Sliced
        >>> first, last = (View("w", (Sliced((limits,)),)) for limits in [(0, 2, 1), (1, 4, 1)])
        >>> overlaps = Overlaps({"w": View("w"), "first": first, "last": last}, (4, 3))
        >>> overlaps.of("first")
        ['w', 'first', 'last']
    """

    def __init__(self, views: Mapping[str, View], shape: tuple[int, ...]) -> None:
        """Prepare to compare views.

        Args:
            views: by name.
            shape: the shape of their parameter.
        """
        elements = np.empty(shape, np.int8)  # pages that are never touched take no memory
        self._arrays = {name: view.of(elements) for name, view in views.items()}
        self._names = list(views)
        self._bounds = np.array([byte_bounds(array) for array in self._arrays.values()])
        self._known: dict[str, list[str]] = {}

    def of(self, name: str) -> list[str]:
        """Return the views that overlap one, itself included, in the order that they were given."""
        if name not in self._known:
            array = self._arrays[name]
            low, high = byte_bounds(array)
            near = (self._bounds[:, 0] < high) & (self._bounds[:, 1] > low)
            # Of many parts, as of experts, most lie elsewhere.
            self._known[name] = [
                other
                for other, is_near in zip(self._names, near, strict=True)
                if other == name or (is_near and np.shares_memory(array, self._arrays[other]))
            ]
        return self._known[name]
