"""How a module is called on a batch of a loader: which parts of the batch its forward takes.

A batch may be a tensor, a sequence that begins with the inputs, as (pictures, labels), or a
mapping, as {"pixel_values": ..., "labels": ...}; or the first element of a sequence may be one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lsuv_cli.reading.flat_module import Arguments

# Indices and keys on the way to a value inside others.
Path = tuple[int | str, ...]

# Keys and parameters that hold what a network is to answer, not what it is asked.
LABELS = frozenset(("label", "labels", "target", "targets", "y"))


@dataclass(frozen=True, slots=True)
class BatchForm:
    """One way to call a forward on a batch.

    Attributes:
        depth: how often the batch is replaced by its first element, at first.
        count: how many elements of a sequence are the arguments; None for the batch as it is.
        keys: the keys of a mapping whose values are the arguments, in place of `count`.
        named: whether those values are given by keyword.
    """

    depth: int = 0
    count: int | None = None
    keys: tuple[str, ...] | None = None
    named: bool = True

    def arguments(self, batch: Any) -> Arguments:
        """Return the arguments that a batch holds.

        Raises:
            LookupError: it lacks some.
        """
        for _ in range(self.depth):
            batch = batch[0]
        if self.keys is not None and self.named:
            return (), {key: batch[key] for key in self.keys}
        if self.keys is not None:
            return tuple(batch[key] for key in self.keys), {}
        if self.count is None:
            return (batch,), {}
        if len(batch) < self.count:
            raise IndexError(f"it has {len(batch)} elements and not {self.count}")
        return tuple(batch[: self.count]), {}


def batch_forms(module: nn.Module, batch: Any) -> Iterator[BatchForm]:
    """Yield the ways to call a module on a batch, the likeliest first."""
    parameters = _parameters(module)
    yield from dict.fromkeys(_forms(parameters, batch, 0))


def main_inputs(module: nn.Module) -> list[str]:
    """Return the parameters of a module's forward that have no default, or else the first one."""
    parameters = _parameters(module)
    main = getattr(module, "main_input_name", "")  # as Hugging Face's modules have it
    return _required(parameters) or [main if main in parameters else next(iter(parameters), "x")]


def _required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    kinds = inspect.Parameter
    return [
        name
        for name, one in parameters.items()
        if one.default is kinds.empty and one.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    ]


def _parameters(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(module.forward).parameters


def _forms(
    parameters: Mapping[str, inspect.Parameter], batch: Any, depth: int
) -> Iterator[BatchForm]:
    required = _required(parameters)
    if isinstance(batch, Mapping):
        yield from _mapping_forms(parameters, required, batch, depth)
    elif isinstance(batch, (list, tuple)) and batch:
        if isinstance(batch[0], (Mapping, list, tuple)):
            yield from _forms(parameters, batch[0], depth + 1)
        count = max(len(required), 1)
        if count <= len(batch):
            yield BatchForm(depth, count)
        if count > 1:
            yield BatchForm(depth, 1)
    yield BatchForm(depth)


def _mapping_forms(
    parameters: Mapping[str, inspect.Parameter],
    required: Sequence[str],
    batch: Mapping[Any, Any],
    depth: int,
) -> Iterator[BatchForm]:
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    keys = [key for key, value in batch.items() if isinstance(key, str) and holds_arrays(value)]
    fitting = [key for key in keys if key in parameters or takes_any]
    if fitting and set(required) <= set(fitting):
        asked = tuple(key for key in fitting if key not in LABELS or key in required)
        if asked:
            yield BatchForm(depth, keys=asked)
        yield BatchForm(depth, keys=tuple(fitting))
    yield BatchForm(depth)
    yield BatchForm(depth, keys=tuple(keys[: max(len(required), 1)]), named=False)


def holds_arrays(value: Any) -> bool:
    """Return whether a value is an array or tensor, or holds one."""
    if isinstance(value, Mapping):
        return any(map(holds_arrays, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(holds_arrays, value))
    return hasattr(value, "shape") and hasattr(value, "__array__")


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """A call of a module: its arguments, and which tensors in them are inputs.

    Attributes:
        form: how a batch becomes arguments.
        paths: the way to each input through the arguments, by the input's name, in order.
        example: arguments, from which all that is no input is taken.
    """

    form: BatchForm
    paths: Mapping[str, Path]
    example: Arguments = field(repr=False)

    def arguments(self, tensors: Sequence[torch.Tensor]) -> Arguments:
        """Return the arguments with some tensors for the inputs."""
        given = dict(zip(self.paths.values(), tensors, strict=True))

        def fill(value: Any, path: Path) -> Any:
            if path in given:
                return given[path]
            if isinstance(value, Mapping):
                return {key: fill(one, (*path, key)) for key, one in value.items()}
            if isinstance(value, (list, tuple)):
                filled = [fill(one, (*path, index)) for index, one in enumerate(value)]
                is_record = hasattr(value, "_fields")
                return type(value)(*filled) if is_record else type(value)(filled)
            return _as_constant(value)

        positional, named = fill(self.example, ())
        return positional, named

    def inputs(self, batch: Any) -> dict[str, Any]:
        """Return the inputs that a batch holds, by name.

        Raises:
            LookupError: it lacks one.
        """
        arguments: Any = self.form.arguments(batch)
        return {name: _at(arguments, path) for name, path in self.paths.items()}


def call_on(module: nn.Module, batch: Any, form: BatchForm) -> ModuleCall:
    """Return the call of a module on a batch.

    Every array whose first axis is as long as the first array's is an input; it is called as the
    parameter or the key that it is given by.

    Args:
        module: the module.
        batch: the batch.
        form: how it becomes arguments.

    Raises:
        LookupError: the batch is not of this form, or holds no array with samples.
    """
    arguments = form.arguments(batch)
    leaves = [(path, one) for path, one in _arrays(arguments, ()) if len(one.shape)]
    if not leaves or not leaves[0][1].shape[0]:
        raise LookupError("it holds no array with samples")
    size = leaves[0][1].shape[0]
    names = [*_parameters(module)]
    paths: dict[str, Path] = {}
    for path, one in leaves:
        if one.shape[0] == size:
            paths[_name(path, names, paths)] = path
    return ModuleCall(form, paths, arguments)


def _arrays(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the arrays in arguments, each with the way to it."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _arrays(one, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, one in enumerate(value):
            yield from _arrays(one, (*path, index))
    elif hasattr(value, "shape") and hasattr(value, "__array__"):
        yield path, value


def _as_constant(value: Any) -> Any:
    """Return a value that is the same for all samples, a tensor on the CPU."""
    if not (hasattr(value, "shape") and hasattr(value, "__array__")):
        return value
    import torch

    return torch.as_tensor(value).detach().cpu()


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _name(path: Path, parameters: Sequence[str], taken: Mapping[str, Path]) -> str:
    """Return an input's name: the innermost key or parameter on the way to it."""
    first = path[1]
    if isinstance(first, int):
        first = parameters[first] if first < len(parameters) else f"input_{first}"
    whole = "_".join(map(str, (first, *path[2:])))
    name = str(path[-1]) if len(path) > 2 and isinstance(path[-1], str) else whole
    if name in taken:
        name = whole if whole not in taken else f"{whole}_{len(taken)}"
    return name
