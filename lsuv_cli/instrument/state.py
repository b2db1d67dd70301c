"""What a sweep is about, and what has been found when a segment of it begins."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import Plan
from lsuv_cli.core.solve import Known
from lsuv_cli.instrument.steps import Step
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import NormNode
from lsuv_cli.reading.model import OnnxModel


@dataclass(frozen=True, slots=True)
class Factor:
    """What a value must be multiplied by to be true.

    Attributes:
        layers: the layers whose factors, multiplied, are this one.
        shape: what the factor is reshaped to before it multiplies; () for a scalar.
        depth: how many layers it has passed.
    """

    layers: tuple[int, ...]
    shape: tuple[int, ...]
    depth: int


Factors = Mapping[str, Factor]


@dataclass(frozen=True, slots=True)
class Sweepable:
    """What a sweep is about; the same for each of its segments.

    Attributes:
        model: the model.
        layer_nodes: its layers, in execution order.
        plan: which of them are initialised, and how.
        norms: batch normalisations that are to normalise with the samples' own statistics.
        alone: whether all samples are one batch, so that a scale follows from it in the graph.
        watched: layers that are not swept but measured all the same.
    """

    model: OnnxModel
    layer_nodes: Sequence[LayerNode]
    plan: Plan
    norms: Sequence[NormNode]
    alone: bool
    watched: Collection[int] = ()

    def dtype(self, index: int) -> np.dtype[Any]:
        """The dtype a layer is computed in, and everything that carries its factor."""
        return self.model.weight_values[self.layer_nodes[index].layer.weight].dtype


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a model when a segment begins.

    Attributes:
        layers: what is known of each layer that earlier segments have measured.
        norms: the moments of what each normalisation normalises, the true value.
        settled: for each weight of an earlier segment, told by the index of its first use, 1 where
            that has decided its scale and 0 elsewhere, like its scale.
        factors: the values handed on that are not true, and what makes them.
    """

    layers: Mapping[int, Known] = field(default_factory=dict)
    norms: Mapping[int, Moments] = field(default_factory=dict)
    settled: Mapping[int, Float64Array] = field(default_factory=dict)
    factors: Factors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replayed:
    """Segments whose work is done again, because what they handed on was not kept.

    Attributes:
        steps: theirs, in execution order.
        found: what was known before the first of them; and of their own layers that the weights are
            final by now, and their own normalisations' moments.
    """

    steps: Sequence[Step]
    found: Found
