"""What stands in a swept graph for each of the model's values, and the factor that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.instrument.scales import GraphScales
from lsuv_cli.instrument.state import Factor, Factors

# Layers that a factor may pass before it is multiplied in. Unscaled activations drift by the
# product of the layers' gains; orthonormal layers with ReLU lose 0.7 each, so twelve stay far
# from the ends of float32's range. What drifts further is caught and swept again cautiously.
MAX_DEFERRED_LAYERS = 12


class Representation:
    """Names in the graph for the model's values.

    A value that no other name stands for has its own. One that lacks a factor is multiplied by it
    where something wants the true value.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        factors: Factors,
        dtype_of: Callable[[int], np.dtype[Any]],
        *,
        cautious: bool,
    ) -> None:
        """Begin with values that are there.

        Args:
            builder: the graph.
            factors: those of them that are not true.
            dtype_of: the dtype that a layer is computed in, and all that carries its factor.
            cautious: let no factor pass a layer.
        """
        self._builder = builder
        self._dtype_of = dtype_of
        self._limit = 1 if cautious else MAX_DEFERRED_LAYERS
        self._names: dict[str, str] = {}
        self._factors: dict[str, Factor] = dict(factors)
        self._true_names: dict[str, str] = {}

    def set(self, name: str, value: str, factor: Factor | None) -> None:
        """Have a value of the graph stand for one of the model's, with the factor that it lacks."""
        self._names[name] = value
        self._true_names.pop(name, None)
        self._factors.pop(name, None)
        if factor is not None:
            self._factors[name] = factor

    def lacks(self, names: Sequence[str], factor: Factor) -> None:
        """Note of values that have their own names that they lack a factor."""
        self._factors |= dict.fromkeys(names, factor)

    def factor(self, name: str) -> Factor | None:
        """What a value lacks; None where it is true."""
        return self._factors.get(name)

    @property
    def factors(self) -> Factors:
        """What all values lack that are not true."""
        return dict(self._factors)

    def carried(self, name: str) -> Factor | None:
        """The factor that a value may go on without; None where it is true or must become so."""
        factor = self._factors.get(name)
        if factor is None or factor.shape or factor.depth >= self._limit:
            return None
        return factor

    def raw(self, name: str) -> str:
        """What stands for a value, whatever it lacks."""
        return self._names.get(name, name)

    def current(self, name: str, scaling: GraphScales) -> str:
        """What stands for a value, unscaled where it may go on so.

        Raises:
            ScaleWantedError: it may not, and its factor is not known yet.
        """
        return self.raw(name) if self.carried(name) else self.true(name, scaling)

    def true(self, name: str, scaling: GraphScales) -> str:
        """A value times its factor; multiplied once, however many nodes want it.

        Raises:
            ScaleWantedError: its factor is not known yet.
        """
        current, factor = self.raw(name), self._factors.get(name)
        if factor is None:
            return current
        if name not in self._true_names:
            product = scaling.product(factor.layers)
            rounded = product.rounded(self._dtype_of(factor.layers[0]), factor.shape)
            self._true_names[name] = self._builder.node("Mul", [current, rounded])
        return self._true_names[name]
