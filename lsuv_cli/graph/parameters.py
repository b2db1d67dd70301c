"""Values of a model's parameters, in the dtypes to compute with and to store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.views import View


@dataclass(frozen=True, slots=True)
class ParameterSource:
    """A place from which a parameter can be read.

    Attributes:
        info: its shape and dtype, known without reading it.
        read: returns its value, not to be modified; it may be read from a file at each call.
        read_first: returns so many of its first elements, (count,), where that takes less time
            than reading all; None where it does not.
    """

    info: TensorInfo
    read: Callable[[], FloatArray]
    read_first: Callable[[int], FloatArray] | None = None

    def first(self, count: int) -> FloatArray:
        """Return the first elements in C order, (count,), fewer where there are fewer."""
        if self.read_first is not None:
            return self.read_first(count)
        return self.read().reshape(-1)[:count]


ParameterSources = Mapping[str, ParameterSource]


def in_memory(value: FloatArray) -> ParameterSource:
    """Return a source that holds its value."""
    return ParameterSource(TensorInfo(value.shape, value.dtype), lambda: value)


class Parameters(Mapping[str, FloatArray]):
    """Values by name, of parameters and of views of them.

    Values are returned in the dtype that the graph computes with. A value that is set is kept in
    memory and in that precision until it has been stored elsewhere; one that is never set stays bit
    for bit as it was, and is read each time it is asked for.
    """

    def __init__(
        self,
        sources: ParameterSources,
        views: Mapping[str, View],
        dtypes: Mapping[str, np.dtype[np.floating]],
    ) -> None:
        self._sources = dict(sources)
        self._changed: dict[str, FloatArray] = {}
        self._views = views
        self._dtypes = dtypes

    def __getitem__(self, name: str) -> FloatArray:
        view = self._view(name)
        value = view.of(self._value(view.parameter))
        if view.steps and view.parameter not in self._changed:
            value = value.copy()  # so that the rest of what was read can go
        return value.astype(self._dtypes[view.parameter], copy=False)

    def __iter__(self) -> Iterator[str]:
        yield from self._dtypes
        yield from self._views

    def __len__(self) -> int:
        return len(self._dtypes) + len(self._views)

    @property
    def changed(self) -> frozenset[str]:
        """The parameters that were set and not stored since."""
        return frozenset(self._changed)

    def set(self, name: str, value: FloatArray) -> None:
        """Set a parameter, or the part of one that a view shows.

        Args:
            name: of the parameter or the view.
            value: of the same shape.
        """
        view = self._view(name)
        dtype = self._dtypes[view.parameter]
        if not view.steps:
            self._changed[view.parameter] = value.astype(dtype, copy=False)
            return
        source = self._value(view.parameter)
        if (
            view.parameter not in self._changed
            or source.dtype != dtype
            or not source.flags.writeable
        ):
            source = source.astype(dtype)
            self._changed[view.parameter] = source
        view.of(source)[...] = value

    def copy(self) -> Parameters:
        """Return a copy, whose values can be set without changing these."""
        copy = Parameters(self._sources, self._views, self._dtypes)
        copy._changed = {name: value.copy() for name, value in self._changed.items()}
        return copy

    def release(self, name: str) -> None:
        """Drop a value that is about to be set, so that two need not be held at once."""
        view = self._view(name)
        if not view.steps:
            self._changed.pop(view.parameter, None)
            self._sources.pop(view.parameter, None)

    def restore(self, name: str) -> None:
        """Set a parameter, or the part of one that a view shows, to what its source holds.

        Args:
            name: of the parameter or the view, which was not released.
        """
        view = self._view(name)
        if not view.steps:
            self._changed.pop(view.parameter, None)
        elif view.parameter in self._changed:
            self.set(name, view.of(self._sources[view.parameter].read()))

    def first(self, name: str, count: int) -> FloatArray:
        """Return the first elements of a parameter in C order, (count,), as it is stored."""
        changed = self._changed.get(name)
        return self._sources[name].first(count) if changed is None else changed.reshape(-1)[:count]

    def stored(self, name: str, dtype: np.dtype[np.generic]) -> FloatArray:
        """Return a parameter in the dtype it is stored with."""
        return self._value(name).astype(dtype, copy=False)

    def sources(self, infos: Mapping[str, TensorInfo]) -> ParameterSources:
        """Return sources of the parameters as they are now, in the dtypes they are stored with.

        Args:
            infos: shape and dtype of each parameter that is wanted.
        """
        return {
            name: ParameterSource(info, partial(self.stored, name, info.dtype))
            for name, info in infos.items()
        }

    def read_from(self, name: str, source: ParameterSource) -> None:
        """Read a parameter from another source from now on."""
        self._changed.pop(name, None)
        self._sources[name] = source

    def _value(self, parameter: str) -> FloatArray:
        changed = self._changed.get(parameter)
        return self._sources[parameter].read() if changed is None else changed

    def _view(self, name: str) -> View:
        return self._views.get(name) or View(name)
