"""The record of a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from support.layer_outputs import Probe
from support.roads import Inputs

NOWHERE: frozenset[str] = frozenset()
# On these roads PyTorch folds what is computed from small parameters alone.
FOLDED = {"folded": "folded", "dynamo": "folded"}
ONNX_ROADS = frozenset(("script", "folded", "dynamo", "unopt"))
# Of PyTorch's older exporter, which tells nothing about a tensor.
OLDER = frozenset(("script", "folded"))


@dataclass(frozen=True)
class LayerCase:
    """A module, and what `lsuv` is to make of it.

    Attributes:
        make: makes the module, in eval mode once it is used.
        inputs: makes the samples.
        statuses: of the layers that are not `converged`, by the names that begin their weights'.
        fixed: layers that are not to be drawn, by the names that begin their weights', and the
            roads that can't tell so.
        looks_made: whether the weights of those layers look made by hand, so that `lsuv` warns of
            them where nothing tells.
        probe: gives the outputs of the layers that are no modules of their own.
        refused: roads on which the file may lack the weights, with a part of the sentence that
            refuses it then.
        doubted: roads on which nothing tells that a weight is computed, with a part of the note
            that says so.
        closed: roads that PyTorch itself can't take the module by.
        transient: buffers that are not part of the state_dict.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    statuses: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    looks_made: bool = True
    probe: Probe | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    doubted: Mapping[str, str] = field(default_factory=dict)
    closed: frozenset[str] = NOWHERE
    transient: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """The exit code: 4 where a layer can't be scaled."""
        return 4 if {"unscalable", "unreachable"} & set(self.statuses.values()) else 0
