"""Types of index, so that a layer's is never taken for a weight's or a normalisation's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NewType, TypeVar

T = TypeVar("T")

# A layer, by its position in the model's layers, in execution order.
LayerIndex = NewType("LayerIndex", int)

# A weight, by the position of the first layer that uses it.
WeightIndex = NewType("WeightIndex", int)

# A batch normalisation, by its position among those that use the samples' statistics.
NormIndex = NewType("NormIndex", int)


class TapKind(Enum):
    """The kind of a tapped value."""

    LAYER = "layers"
    NORM = "norms"
    ACTIVATION = "activations"


@dataclass(frozen=True, slots=True)
class TapKey:
    """A tapped value: a layer's output, a normalisation's input, or an activation.

    Attributes:
        kind: one of these.
        index: of the layer, of the normalisation, or of the layer before the activation.
    """

    kind: TapKind
    index: int


def layer_tap(index: LayerIndex) -> TapKey:
    """Return the key of a tap on a layer's output."""
    return TapKey(TapKind.LAYER, index)


def norm_tap(index: NormIndex) -> TapKey:
    """Return the key of a tap on the input of a normalisation."""
    return TapKey(TapKind.NORM, index)


def activation_tap(index: LayerIndex) -> TapKey:
    """Return the key of a tap on the activation behind a layer."""
    return TapKey(TapKind.ACTIVATION, index)


def by_layer(items: Iterable[T]) -> Iterator[tuple[LayerIndex, T]]:
    """Yield per-layer items, in execution order, with the index of their layer."""
    return ((LayerIndex(position), item) for position, item in enumerate(items))


def by_norm(items: Iterable[T]) -> Iterator[tuple[NormIndex, T]]:
    """Yield per-normalisation items with the index of their normalisation."""
    return ((NormIndex(position), item) for position, item in enumerate(items))
