"""Lines of a module's code that make Python values of the samples' values.

A trace has such a value as a constant, and with it one way through an `if`. The tracer warns of
most of that, but of sizes just as well. To be imported only where a module is at hand: it imports
torch.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from lsuv_cli.reading.torch_export import quiet

# Packages whose code is not the module's own.
TORCH = Path(torch.__file__).parent
PACKAGE = Path(__file__).parent

# What `if tensor`, `float(tensor)` and `tensor.item()` come to; the tracer warns of them.
OPERATORS = frozenset(
    (
        torch.ops.aten._local_scalar_dense.default,  # noqa: SLF001 - its name
        torch.ops.aten.is_nonzero.default,
    )
)
# Functions that run no such operator, or of which the tracer does not warn.
FUNCTIONS = frozenset(
    (
        torch.equal,
        torch.allclose,
        Tensor.equal,
        Tensor.allclose,
        Tensor.numpy,
        Tensor.tolist,
        Tensor.__array__,
    )
)

Lines = tuple[str, frozenset[str]]
T = TypeVar("T")


def python_decisions(
    module: nn.Module, inputs: Sequence[Tensor], warned: Collection[str]
) -> list[str]:
    """Return the lines where a trace of a module has fixed what follows from its inputs' values.

    Args:
        module: the module; run once.
        inputs: its inputs.
        warned: the lines of which the tracer has warned, as `file:line`.

    Returns:
        The lines of the module's own code, each once, as `file:line`.
    """
    dependence = _Dependence(inputs)
    operators, functions = _Operators(dependence), _Functions(dependence)
    with torch.no_grad(), quiet(), functions, operators:
        module(*inputs)
    # A module may decide otherwise, or not at all, while it is traced.
    fixed = [own for own, stack in operators.decisions if stack & set(warned)]
    return list(dict.fromkeys((*fixed, *functions.decisions)))


class _Dependence:
    """The tensors that follow from the inputs."""

    def __init__(self, inputs: Iterable[Tensor]) -> None:
        self._tensors: Any = WeakIdKeyDictionary()
        self.add(tuple(inputs))

    def add(self, value: Any) -> None:
        """Add the tensors in a value."""
        for one in _tensors(value):
            self._tensors[one] = None

    def __contains__(self, value: Any) -> bool:
        """Return whether a tensor in a value follows from the inputs."""
        return any(one in self._tensors for one in _tensors(value))


class _Watch(Generic[T]):
    """Watches what a module runs.

    Attributes:
        decisions: what was noted of each value that becomes one of Python's.
    """

    def __init__(self, dependence: _Dependence) -> None:
        super().__init__()
        self.decisions: list[T] = []
        self._dependence = dependence


class _Operators(_Watch[Lines], TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows values through every operator.

    Of each decision it notes the line of the module's own code, and all lines of the stack.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operator, and note what follows from the inputs."""
        result = func(*args, **(kwargs or {}))
        if (args, kwargs) in self._dependence:
            if func in OPERATORS:
                self.decisions.append(_lines())
            self._dependence.add(result)
        return result


class _Functions(_Watch[str], TorchFunctionMode):
    """Watches the functions that make Python values unseen.

    Of each decision it notes the line of the module's own code.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function."""
        if func in FUNCTIONS and (args, kwargs) in self._dependence:
            self.decisions.append(_lines()[0])
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> list[Tensor]:
    leaves = torch.utils._pytree.tree_leaves(value)  # noqa: SLF001
    return [one for one in leaves if isinstance(one, Tensor)]


def _lines() -> Lines:
    """Return the innermost line that is neither PyTorch's nor this package's, and all lines."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    lines = []
    own = ""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        lines.append(f"{path}:{frame.f_lineno}")
        if not (own or path.is_relative_to(TORCH) or path.is_relative_to(PACKAGE)):
            own = lines[-1]
        frame = frame.f_back
    return own, frozenset(lines)
