"""The values of a swept graph, and the scales that are pending on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lsuv_cli.core.indices import LayerIndex
from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.instrument.graph_scales import GraphScales
from lsuv_cli.instrument.state import PendingScale, PendingScales

# Layers that a pending scale may pass before it is applied. Unscaled activations drift by the
# product of the layers' gains; orthonormal layers with ReLU lose 0.7 each, so twelve stay far
# from the ends of float32's range. Values that drift further are found ill-conditioned and swept
# again cautiously.
MAX_DEFERRED_LAYERS = 12


class GraphValues:
    """The names in the graph of the model's values, and their pending scales.

    A value that no other name stands for has its own. A pending scale is applied where a node needs
    the scaled value.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        pending_scales: PendingScales,
        dtype_of: Callable[[LayerIndex], np.dtype[Any]],
        *,
        cautious: bool,
    ) -> None:
        """Begin with the values that are fed.

        Args:
            builder: the graph.
            pending_scales: theirs.
            dtype_of: the dtype that a layer is computed in, and every value with its pending scale.
            cautious: let no pending scale pass a layer.
        """
        self._builder = builder
        self._dtype_of = dtype_of
        self._limit = 1 if cautious else MAX_DEFERRED_LAYERS
        self._names: dict[str, str] = {}
        self._pending: dict[str, PendingScale] = dict(pending_scales)
        self._scaled_names: dict[str, str] = {}

    def set(self, name: str, value: str, pending: PendingScale | None) -> None:
        """Have a value of the graph stand for one of the model's, with a pending scale."""
        self._names[name] = value
        self._scaled_names.pop(name, None)
        self._pending.pop(name, None)
        if pending is not None:
            self._pending[name] = pending

    def set_pending(self, names: Sequence[str], pending: PendingScale) -> None:
        """Set the pending scale of values that have their own names."""
        self._pending |= dict.fromkeys(names, pending)

    def pending_scale(self, name: str) -> PendingScale | None:
        """Return the pending scale of a value; None where it is scaled."""
        return self._pending.get(name)

    @property
    def pending_scales(self) -> PendingScales:
        """The pending scales of all values that have one."""
        return dict(self._pending)

    def deferrable_scale(self, name: str) -> PendingScale | None:
        """Return a value's pending scale; None where it has none or must be applied now."""
        pending = self._pending.get(name)
        if pending is None or pending.shape or pending.depth >= self._limit:
            return None
        return pending

    def unscaled(self, name: str) -> str:
        """Return the name that stands for a value, whatever scale is pending."""
        return self._names.get(name, name)

    def deferred(self, name: str, scaling: GraphScales) -> str:
        """Return the name that stands for a value, unscaled where its scale may be deferred.

        Raises:
            ScaleUnknownError: it may not, and the scale is not known yet.
        """
        return self.unscaled(name) if self.deferrable_scale(name) else self.scaled(name, scaling)

    def scaled(self, name: str, scaling: GraphScales) -> str:
        """Return the scaled value; it is multiplied once, however many nodes read it.

        Raises:
            ScaleUnknownError: the scale is not known yet.
        """
        current, pending = self.unscaled(name), self._pending.get(name)
        if pending is None:
            return current
        if name not in self._scaled_names:
            scale = scaling.combined_scale(pending.layers)
            rounded = scale.rounded(self._dtype_of(pending.layers[0]), pending.shape)
            self._scaled_names[name] = self._builder.node("Mul", [current, rounded])
        return self._scaled_names[name]
