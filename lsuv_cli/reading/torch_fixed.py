"""Tensors of a PyTorch module that training does not change: buffers, and what has no gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lsuv_cli.graph.constants import float_array_of
from lsuv_cli.graph.fixed import IS_BUFFER, NO_GRADIENT
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.torch_arrays import as_numpy
from lsuv_cli.reading.torch_state import Storage, storage

if TYPE_CHECKING:
    import torch


def with_fixed(
    source: ModelSource, state: Mapping[str, torch.Tensor], parameters: Mapping[str, torch.Tensor]
) -> ModelSource:
    """Return a converted module with what it tells about its tensors, and the exporter does not.

    Args:
        source: the module, converted.
        state: its state_dict.
        parameters: its parameters, every name of a tied one among them.
    """
    reasons: dict[Storage, str] = {}
    for name, value in state.items():
        if name not in parameters:
            reasons[storage(value)] = IS_BUFFER
        elif not parameters[name].requires_grad:
            reasons[storage(value)] = NO_GRADIENT
    names = {**{name: name for name in state}, **dict(_nameless(source, state))}
    fixed = {}
    for name, original in names.items():
        reason = reasons.get(storage(state[original]))
        if reason is not None:
            fixed[name] = reason
    return replace(source, fixed=fixed, trained=frozenset(names.keys() - fixed.keys()))


def _nameless(source: ModelSource, state: Mapping[str, torch.Tensor]) -> Iterable[tuple[str, str]]:
    """Yield the Constant nodes that are tensors of the module, and the names of these.

    The exporter loses the names of the weights of scripted recurrent layers; their values tell.
    """
    nodes = source.skeleton.graph.node
    named = source.parameters.keys() | {name for node in nodes for name in node.output}
    lost = {name: value for name, value in state.items() if name not in named}
    for node in nodes if lost else ():
        constant = float_array_of(node)
        if constant is None:
            continue
        for name, value in lost.items():
            if constant.shape == tuple(value.shape) and np.array_equal(constant, as_numpy(value)):
                yield node.output[0], name
