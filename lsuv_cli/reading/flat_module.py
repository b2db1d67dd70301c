"""A module that takes and returns tensors alone, whatever its own forward takes and returns.

PyTorch's exporters differ in what they make of dictionaries, keywords and classes; of this they see
only tensors. To be imported only where a module is at hand: it imports torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from lsuv_cli.reading.torch_program import MODULE

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class FlatModule(nn.Module):
    """A module that takes tensors alone, and returns a tuple of tensors."""

    def __init__(
        self, module: nn.Module, arguments: Callable[[tuple[torch.Tensor, ...]], Arguments]
    ) -> None:
        """Wrap a module.

        Args:
            module: the module.
            arguments: returns its arguments for some tensors.
        """
        super().__init__()
        setattr(self, MODULE, module)
        self._arguments = arguments
        self.training = module.training

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tensors of what the module returns, in order."""
        positional, named = self._arguments(tensors)
        return tuple(tensors_in(getattr(self, MODULE)(*positional, **named)))


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in lists, dictionaries and data classes, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors_in(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors_in(one)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))
