"""The values of a model's parameters, as they are computed with and as they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.model.views import View


class Parameters(Mapping[str, FloatArray]):
    """Values by name, of parameters and of views of them.

    Reading gives them in the dtype that the graph computes with. What is set is kept in that
    precision, to be rounded when it is stored; what is never set stays bit for bit as it was.
    """

    def __init__(
        self,
        stored: Mapping[str, FloatArray],
        views: Mapping[str, View],
        dtypes: Mapping[str, np.dtype[np.floating]],
    ) -> None:
        self._values: dict[str, FloatArray] = dict(stored)
        self._views = views
        self._dtypes = dtypes

    def __getitem__(self, name: str) -> FloatArray:
        view = self._view(name)
        value = view.of(self._values[view.source])
        return value.astype(self._dtypes[view.source], copy=False)

    def __iter__(self) -> Iterator[str]:
        yield from self._values
        yield from self._views

    def __len__(self) -> int:
        return len(self._values) + len(self._views)

    def set(self, name: str, value: FloatArray) -> None:
        """Set a parameter, or the part of one that a view shows.

        Args:
            name: of the parameter or the view.
            value: of the same shape.
        """
        view = self._view(name)
        dtype = self._dtypes[view.source]
        if not view.steps:
            self._values[view.source] = value.astype(dtype, copy=False)
            return
        source = self._values[view.source]
        if source.dtype != dtype or not source.flags.writeable:
            source = source.astype(dtype)
            self._values[view.source] = source
        view.of(source)[...] = value

    def release(self, name: str) -> None:
        """Let a value go that is about to be set, so that two need not be held at once."""
        if not self._view(name).steps:
            del self._values[name]

    def stored(self, name: str, dtype: np.dtype[np.generic]) -> FloatArray:
        """A parameter in the dtype it is stored with."""
        return self._values[name].astype(dtype, copy=False)

    def replace_all(self, stored: Mapping[str, FloatArray]) -> None:
        """Take other values, for those parameters that are named."""
        self._values |= stored

    def _view(self, name: str) -> View:
        return self._views.get(name) or View(name)
