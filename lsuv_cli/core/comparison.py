"""What `lsuv compare` finds: how the signal goes through a network, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsuv_cli.core.choices import Init
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import PlannedLayer, RunReport


@dataclass(frozen=True, slots=True)
class Growth:
    """How a standard deviation changes on the way through the network.

    Attributes:
        start: of the first measured layer on the way; positive.
        end: of the last.
    """

    start: float
    end: float

    @property
    def factor(self) -> float:
        """The end over the start."""
        return self.end / self.start


@dataclass(frozen=True, slots=True)
class Trial:
    """One initialisation, tried.

    Attributes:
        init: which.
        forward: for each measured layer's index the moments of its output.
        backward: for each layer's index the standard deviation of the gradient by its output; of
            those layers only on which an output of the model depends, and empty without gradients.
        failures: what LSUV could not bring to its target, in words; empty for other ones.
    """

    init: Init
    forward: Mapping[int, Moments]
    backward: Mapping[int, float]
    failures: tuple[str, ...] = ()

    def forward_std(self, index: int) -> float | None:
        """The standard deviation of a layer's output; None where it is not measured."""
        moments = self.forward.get(index)
        return None if moments is None else math.sqrt(moments.blob_variance)

    def backward_std(self, index: int) -> float | None:
        """That of the gradient by it; None where it is not measured."""
        return self.backward.get(index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(RunReport):
    """Everything a run of `lsuv compare` has to say.

    Attributes:
        layers: in execution order.
        trials: one for each initialisation, in the order that was asked for.
        gradient_samples: how many samples the gradients are of; 0 without gradients.
        no_gradients: why there are none; empty where there are, or they were not asked for.
    """

    layers: tuple[PlannedLayer, ...]
    trials: tuple[Trial, ...]
    gradient_samples: int
    no_gradients: str

    @property
    def has_gradients(self) -> bool:
        """Whether the backward half was measured."""
        return self.gradient_samples > 0

    def forward(self, trial: Trial) -> list[float | None]:
        """Each layer's forward standard deviation, in execution order."""
        return [trial.forward_std(index) for index in range(len(self.layers))]

    def backward(self, trial: Trial) -> list[float | None]:
        """Each layer's backward standard deviation, in execution order."""
        return [trial.backward_std(index) for index in range(len(self.layers))]


def growth(stds: Sequence[float | None]) -> Growth | None:
    """From the first to the last of some standard deviations; None where one has no factor.

    Args:
        stds: in the order in which the signal goes; those that were not measured are passed over.
    """
    measured = [std for std in stds if std is not None]
    if len(measured) < 2 or not all(math.isfinite(std) for std in (measured[0], measured[-1])):
        return None
    return Growth(measured[0], measured[-1]) if measured[0] > 0 else None
