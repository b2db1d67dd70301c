"""Values of samples that become Python's, and with them constants of a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lsuv_cli.reading.flat_module import FlatModule
from lsuv_cli.reading.module_export import export_traced
from lsuv_cli.reading.python_decisions import python_decisions

# torch.jit does not export it.
is_tracing: Callable[[], bool] = vars(torch.jit)["is_tracing"]

Compute = Callable[[Tensor, Tensor], Any]


class Computed(nn.Module):
    """What a function makes of a sample and a parameter."""

    def __init__(self, compute: Compute) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(x)
        factor: Tensor | float = self.compute(y.detach(), self.fc.weight.detach())
        return y * factor


def decisions(compute: Compute) -> list[str]:
    module = FlatModule(Computed(compute).eval(), lambda tensors: (tensors, {}))
    x = [torch.randn(2, 4)]
    _, warned = export_traced(module, module, x, ["x"])
    return python_decisions(module, x, warned)


@pytest.mark.parametrize(
    "compute",
    [
        lambda y, _: 2 if y.sum() > 0 else 3,
        lambda y, _: y.max().item(),
        lambda y, _: float(y[0].exp().mean()),
        lambda y, _: y.tolist()[0][0],
        lambda y, _: float(y.numpy().max()),
        lambda y, _: float(np.asarray(y).max()),
        lambda y, _: 2 if torch.equal(y, y.round()) else 3,
        lambda y, _: 2 if y.allclose(y.round()) else 3,
        lambda y, _: 2 if 1.0 in y else 3,
    ],
    ids=["if", "item", "float", "tolist", "numpy", "asarray", "equal", "allclose", "in"],
)
def test_decided_by_the_samples_values(compute: Compute) -> None:
    (line,) = decisions(compute)
    path, _, number = line.rpartition(":")
    assert Path(path) == Path(__file__)
    assert "lambda y, _:" in Path(path).read_text().splitlines()[int(number) - 1]


@pytest.mark.parametrize(
    "compute",
    [
        lambda y, _: 2 if y.shape[1] % 2 else 3,
        lambda y, _: len(y),
        lambda y, _: 2 if torch.tensor(y.shape).max() > 3 else 3,
        lambda _, weight: 2 if weight.sum() > 0 else 3,
        lambda _, weight: float(weight.numpy().max()),
        lambda y, _: torch.stack([row.relu() for row in y]),
        lambda y, _: 2 if is_tracing() else y.max().item(),
    ],
    ids=["size", "len", "shape", "parameter", "array", "rows", "untraced"],
)
def test_not_decided_by_the_samples_values(compute: Compute) -> None:
    assert not decisions(compute)
