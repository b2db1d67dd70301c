"""Results of `lsuv compare`: a signal's size at each layer, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsuv_cli.core.choices import Init
from lsuv_cli.core.indices import LayerIndex, by_layer
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import PlannedLayer, RunReport


@dataclass(frozen=True, slots=True)
class Growth:
    """Change of a standard deviation from one end of the network to the other.

    Attributes:
        start: the standard deviation at the first measured layer; positive.
        end: the standard deviation at the last measured layer.
    """

    start: float
    end: float

    @property
    def factor(self) -> float:
        """Return the end divided by the start."""
        return self.end / self.start


@dataclass(frozen=True, slots=True)
class ComparedInit:
    """Measurements with one initialisation.

    Attributes:
        init: the initialisation.
        forward: for each measured layer's index the moments of its output.
        backward: for each layer's index the standard deviation of the gradient with respect to its
            output; only for layers on which an output of the model depends, and empty without
            gradients.
        failures: the layers that LSUV could not bring to their targets, a sentence each; empty for
            other initialisations.
    """

    init: Init
    forward: Mapping[LayerIndex, Moments]
    backward: Mapping[LayerIndex, float]
    failures: tuple[str, ...] = ()

    def forward_std(self, index: LayerIndex) -> float | None:
        """Return the standard deviation of a layer's output; None where it was not measured."""
        moments = self.forward.get(index)
        return None if moments is None else math.sqrt(moments.blob_variance)

    def backward_std(self, index: LayerIndex) -> float | None:
        """Return the gradient's standard deviation at a layer; None where it was not measured."""
        return self.backward.get(index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(RunReport):
    """Results of a run of `lsuv compare`.

    Attributes:
        layers: in execution order.
        inits: one per initialisation, in the requested order.
        gradient_samples: the number of samples of the gradients; 0 without gradients.
        no_gradients: why there are no gradients; empty where there are, or none were requested.
    """

    layers: tuple[PlannedLayer, ...]
    inits: tuple[ComparedInit, ...]
    gradient_samples: int
    no_gradients: str

    @property
    def has_gradients(self) -> bool:
        """Return whether gradients were measured."""
        return self.gradient_samples > 0

    def forward(self, one: ComparedInit) -> list[float | None]:
        """Return each layer's forward standard deviation, in execution order."""
        return [one.forward_std(index) for index, _ in by_layer(self.layers)]

    def backward(self, one: ComparedInit) -> list[float | None]:
        """Return each layer's backward standard deviation, in execution order."""
        return [one.backward_std(index) for index, _ in by_layer(self.layers)]


def growth(stds: Sequence[float | None]) -> Growth | None:
    """Return the growth from the first measured standard deviation to the last.

    Args:
        stds: in the direction of the signal; None for a layer that was not measured.

    Returns:
        None where fewer than two were measured, one of the two is not finite, or the first is zero.
    """
    measured = [std for std in stds if std is not None]
    if len(measured) < 2 or not all(math.isfinite(std) for std in (measured[0], measured[-1])):
        return None
    return Growth(measured[0], measured[-1]) if measured[0] > 0 else None
