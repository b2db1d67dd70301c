"""The model of a sweep, and the state of the sweep when a segment begins."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsuv_cli.core.indices import LayerIndex, NormIndex, WeightIndex
from lsuv_cli.core.moments import Float64Array, Moments
from lsuv_cli.core.records import Plan
from lsuv_cli.core.solve import MeasuredProduct
from lsuv_cli.instrument.steps import SweepStep
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import NormNode
from lsuv_cli.reading.model import OnnxModel


@dataclass(frozen=True, slots=True)
class PendingScale:
    """The scale that a value of the graph must still be multiplied by.

    Attributes:
        layers: the layers whose pending scales, multiplied, are this one.
        shape: the shape in which it is multiplied; () for a scalar.
        depth: the number of layers it has passed.
    """

    layers: tuple[LayerIndex, ...]
    shape: tuple[int, ...]
    depth: int


PendingScales = Mapping[str, PendingScale]


@dataclass(frozen=True, slots=True)
class SweptModel:
    """The model of a sweep, the same for each segment.

    Attributes:
        model: the model.
        layer_nodes: its layers, in execution order.
        plan: which of them are initialised, and how.
        norms: batch normalisations that are to normalise with the samples' own statistics.
        single_batch: whether all samples are one batch, so that scales are found in the graph.
        observed: layers that are not swept but measured all the same.
    """

    model: OnnxModel
    layer_nodes: Sequence[LayerNode]
    plan: Plan
    norms: Sequence[NormNode]
    single_batch: bool
    observed: Collection[LayerIndex] = ()

    def dtype(self, index: LayerIndex) -> np.dtype[Any]:
        """Return the dtype of a layer's computation, and of every value with its pending scale."""
        return self.model.weight_values[self.layer_nodes[index].layer.weight_value].dtype


@dataclass(frozen=True, slots=True)
class SweepState:
    """The state of a sweep when a segment begins.

    Attributes:
        products: the measured products of the layers of earlier segments.
        norms: the moments of each normalisation's input, scaled.
        scale_is_final: for each weight of an earlier segment, by its first use, 1 where
            its scale is final and 0 elsewhere, like its scale.
        pending_scales: those of the values passed on.
    """

    products: Mapping[LayerIndex, MeasuredProduct] = field(default_factory=dict)
    norms: Mapping[NormIndex, Moments] = field(default_factory=dict)
    scale_is_final: Mapping[WeightIndex, Float64Array] = field(default_factory=dict)
    pending_scales: PendingScales = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replay:
    """Segments that are run again, because the values they passed on were not kept.

    Attributes:
        steps: theirs, in execution order.
        state: that before the first of them; their own layers have final weights by now, and the
            moments of their normalisations are known.
    """

    steps: Sequence[SweepStep]
    state: SweepState
