"""Products of data with something that is not data, seen while PyTorch runs a module.

Below modules and functions: every operator that PyTorch runs is looked at, so that layers show that
are no modules, and the weights that they really multiply by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from support.layer_outputs import LAYERS

aten = torch.ops.aten
# The places of the two factors.
FACTORS: dict[Any, tuple[int, int]] = {
    aten.mm.default: (0, 1),
    aten.mv.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.addmm.default: (1, 2),
    aten.addmv.default: (1, 2),
    aten.baddbmm.default: (1, 2),
    aten.convolution.default: (0, 1),
}
PART = re.compile(r"(.*)\[(\d+):(\d+)\]")
OWNERS = (*LAYERS, nn.MultiheadAttention)
PICKS = frozenset((aten.index.Tensor, aten.index_select.default, aten.gather.default))


@dataclass
class EagerProduct:
    """A factor that is not data, and what the products with it are like.

    Attributes:
        weight: the parameter or buffer, and which part of it; or the module that computes it.
        computed: whether it is computed, not a parameter or a view of one.
        variances: of the outputs, a call after the other.
    """

    weight: str
    computed: bool
    variances: list[float] = field(default_factory=list)


def eager_products(
    module: nn.Module, inputs: tuple[Tensor, ...], weights: Iterable[str] = ()
) -> dict[str, EagerProduct]:
    """Run a module; return its products of data with something else, in the order of first calls.

    A layer that is fed by parameters counts where it is a module of its own or its weight is named.

    Args:
        module: the module, in eval mode.
        inputs: the samples.
        weights: names of layers' weights; of `name[2:4]` the product with the whole is split.
    """
    watch = _Watch(module, inputs, weights)
    handles = [
        handle
        for name, one in module.named_modules()
        for handle in (
            one.register_forward_pre_hook(watch.entering(name, one)),
            one.register_forward_hook(watch.leaving),
        )
    ]
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad(), watch:
        module(*inputs)
    for handle in handles:
        handle.remove()
    return watch.found


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call] # of PyTorch
    """Follows, by the memory that holds them, which values depend on the inputs."""

    def __init__(
        self, module: nn.Module, inputs: tuple[Tensor, ...], weights: Iterable[str]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows: dict[str, list[tuple[int, int]]] = {}
        listed = list(weights)
        self._weights = {weight.partition("[")[0] for weight in listed}
        for whole, *row in filter(None, map(_part, listed)):
            self._rows.setdefault(whole, []).append((row[0], row[1]))
        self.found: dict[str, EagerProduct] = {}
        self._data = {_memory(value) for value in inputs}
        self._picked: dict[int, tuple[str, Tensor]] = {}
        tensors = [*module.named_parameters(), *module.named_buffers()]
        self._names = {_memory(value): (name, value) for name, value in reversed(tensors)}
        self._inside: list[tuple[str, nn.Module]] = []

    def entering(self, name: str, module: nn.Module) -> Callable[..., None]:
        """Return a hook that notes which module runs."""
        return lambda *_: self._inside.append((name, module))

    def leaving(self, *_: object) -> None:
        """Forget the module that has ended."""
        self._inside.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        self._follow(func, given, out)
        if func in FACTORS:
            first, second = (args[place] for place in FACTORS[func])
            self._look(func, first, second, out)
        return out

    def _follow(self, func: Any, given: list[Tensor], out: Any) -> None:
        depends = any(_memory(value) in self._data for value in given)
        before = {_memory(value) for value in given}
        for made in tree_leaves(out):
            if not isinstance(made, Tensor):
                continue
            place = _memory(made)
            if depends:
                self._data.add(place)
            elif place not in before:  # memory that had been given back
                self._data.discard(place)
            if place not in before:
                self._picked.pop(place, None)
            if func in PICKS and depends and given[0].dim() > 2 and self._is_other(given[0]):
                self._picked[place] = self._called(given[0])[0], given[1]
        written = getattr(func, "_schema", None)
        if depends and written is not None and written.is_mutable and given:
            self._data.add(_memory(given[0]))

    def _is_other(self, value: Tensor) -> bool:
        return _memory(value) not in self._data or _memory(value) in self._picked

    def _look(self, func: Any, first: Tensor, second: Tensor, out: Tensor) -> None:
        others = [self._is_other(first), self._is_other(second)]
        if not any(others):
            return
        weight = second if others[1] else first
        if all(others):
            if not self._is_own(second):
                rows = [value for value in (first, second) if self._has_row(value)]
                if not rows:
                    return
                weight = rows[-1]
            self._data.add(_memory(out))  # fed by parameters, it has outputs like any other layer
        name, computed = self._called(weight)
        product = EagerProduct(name, computed)
        for part, values in self._parts(func, name, weight, out).items():
            found = self.found.setdefault(part, replace(product, weight=part, variances=[]))
            found.variances.append(values.double().var(correction=0).item())

    def _has_row(self, weight: Tensor) -> bool:
        """Return whether a value is a parameter, or a view of one, whose name was given."""
        named = self._names.get(_memory(weight))
        return named is not None and named[0] in self._weights

    def _is_own(self, weight: Tensor) -> bool:
        """Return whether a weight is that of the layer that runs, a module of PyTorch's."""
        _, module = self._inside[-1] if self._inside else ("", None)
        name = "in_proj_weight" if isinstance(module, nn.MultiheadAttention) else "weight"
        own = getattr(module, name, None) if isinstance(module, OWNERS) else None
        return own is not None and _memory(own) == _memory(weight)

    def _parts(self, func: Any, name: str, weight: Tensor, out: Tensor) -> dict[str, Tensor]:
        """Return the parts of an output that a layer each has made."""
        if _memory(weight) in self._picked:
            index = self._picked[_memory(weight)][1].flatten()
            if func is not aten.bmm.default or len(index) != len(out):
                return {name: out}
            picks = sorted(set(index.tolist()))
            rows = self._rows.get(name, [])
            called = {pick: f"{pick}:{pick + 1}" for pick in picks if (pick, pick + 1) in rows}
            return {f"{name}[{called.get(pick, pick)}]": out[index == pick] for pick in picks}
        axis = 1 if func is aten.convolution.default else -1
        whole, first, last = _part(name) or (name, 0, out.shape[axis])
        rows = [row for row in self._rows.get(whole, ()) if first <= row[0] and row[1] <= last]
        if rows:
            return {
                f"{whole}[{start}:{stop}]": out.narrow(axis, start - first, stop - start)
                for start, stop in rows
            }
        several = func is aten.bmm.default and weight.stride(0) and len(weight) > 1
        if several and _memory(weight) in self._names:
            return {f"{name}[{index}]": out[index] for index in range(len(weight))}
        return {name: out}

    def _called(self, weight: Tensor) -> tuple[str, bool]:
        """Return what a weight is called, and whether it is computed."""
        place = _memory(weight)
        if place in self._picked:
            return self._picked[place][0], False
        if place not in self._names:
            inside = self._inside[-1][0] if self._inside else ""
            return f"{inside} (computed)", True
        name, whole = self._names[place]
        if weight.numel() >= whole.numel() or not whole.dim():
            return name, False
        row = whole[0].numel()
        start = weight.storage_offset() // row
        return f"{name}[{start}:{start + weight.numel() // row}]", False


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _part(weight: str) -> tuple[str, int, int] | None:
    """Return the name and the rows of a part of a weight, `name[2:4]`; None for a whole one."""
    found = PART.fullmatch(weight)
    return (found[1], int(found[2]), int(found[3])) if found else None
