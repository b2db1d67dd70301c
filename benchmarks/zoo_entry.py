"""What an entry of the zoo is, and modules whose forward takes and returns tensors alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Inputs = tuple[Tensor, ...] | dict[str, Tensor]
Made = tuple[nn.Module, Inputs]

SAMPLES = 8


@dataclass(frozen=True)
class ZooModel:
    """A model of the zoo.

    Attributes:
        name: its name, behind that of its library.
        make: makes the module, and samples: in order, or by the names of forward's parameters.
        libraries: what to import before.
    """

    name: str
    make: Callable[[], Made]
    libraries: tuple[str, ...] = ()


def pictures(size: int = 64) -> tuple[Tensor, ...]:
    """Return normal noise as colour pictures."""
    return (torch.randn(SAMPLES, 3, size, size),)


def flatten(module: nn.Module, inputs: Inputs) -> tuple[Tensor, ...]:
    """Have a module's forward take tensors in order and return a tuple of tensors.

    Exporters can't take or return records. The module's class changes, so that, other than in a
    wrapper, its parameters keep their names.

    Args:
        module: the module.
        inputs: samples.

    Returns:
        The samples in order.
    """
    whole: Any = type(module).forward
    names = list(inputs) if isinstance(inputs, Mapping) else []

    def forward(self: nn.Module, *given: Tensor) -> tuple[Tensor, ...]:
        taken = dict(zip(names, given, strict=True)) if names else {}
        out = whole(self, **taken) if names else whole(self, *given)
        return tuple({id(value): value for value in tensors(out)}.values())

    values = tuple(inputs.values()) if isinstance(inputs, Mapping) else inputs
    parameters = names or [f"x{index}" for index in range(len(values))]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    vars(forward)["__signature__"] = inspect.Signature(
        [inspect.Parameter(name, kind) for name in ("self", *parameters)]
    )
    module.__class__ = type(type(module).__name__, (type(module),), {"forward": forward})
    return values


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the floating-point tensors in a record, however deep."""
    if isinstance(value, Tensor):
        if value.is_floating_point() and value.numel():
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from tensors(one)
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from tensors(one)
    elif hasattr(value, "__dataclass_fields__"):
        for one in vars(value).values():
            yield from tensors(one)
