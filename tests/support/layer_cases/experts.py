"""Mixtures of experts whose weights are packed into one parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from support.layer_cases.case import LayerCase
from support.layer_cases.computed import rows
from support.roads import Inputs


class Routed(nn.Module):
    """Each sample goes through the expert that a gate picks."""

    def __init__(self, experts: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(16, experts)
        self.up = nn.Parameter(torch.randn(experts, 32, 16))
        self.down = nn.Parameter(torch.randn(experts, 16, 32))

    def pick(self, x: Tensor) -> Any:
        """Return the expert of each sample."""
        return self.gate(x).argmax(-1)

    def forward(self, x: Tensor) -> Any:
        top = self.pick(x)
        hidden = torch.relu(torch.bmm(self.up[top], x[..., None]))
        return torch.bmm(self.down[top], hidden)[..., 0]


class Deserted(Routed):
    """The last expert is never picked."""

    def pick(self, x: Tensor) -> Any:
        return self.gate(x)[:, :-1].argmax(-1)


class Mixed(nn.Module):
    """All experts see all samples, and a gate weighs them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(12, 3)
        self.up = nn.Parameter(torch.randn(3, 20, 12))
        self.down = nn.Parameter(torch.randn(3, 8, 20))

    def forward(self, x: Tensor) -> Any:
        shares = self.gate(x).softmax(-1)
        hidden = torch.relu(torch.einsum("bi,eoi->beo", x, self.up))
        return torch.einsum("beh,eoh,be->bo", hidden, self.down, shares)


class Looped(nn.Module):
    """Experts taken out of their parameter one by one, for the samples that a gate gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 3)
        self.up = nn.Parameter(torch.randn(3, 16, 24))
        self.down = nn.Parameter(torch.randn(3, 24, 16))

    def forward(self, x: Tensor) -> Any:
        shares = self.gate(x).softmax(-1)
        found = torch.zeros_like(x)
        for index in range(3):
            made = torch.relu(x @ self.up[index]) @ self.down[index]
            found = found + shares[:, index, None] * made
        return found


def _routed_outputs(net: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Return the outputs of each expert on the samples that reach it."""
    assert isinstance(net, Routed)
    (x,) = inputs
    found = {}
    picked = net.pick(x)
    for index in sorted(set(picked.tolist())):
        chosen = x[picked == index]
        hidden = chosen @ net.up[index].T
        found[f"up[{index}]"] = hidden
        found[f"down[{index}]"] = torch.relu(hidden) @ net.down[index].T
    return found


def _mixed_outputs(net: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    assert isinstance(net, Mixed)
    found = {}
    for index in range(3):
        hidden = inputs[0] @ net.up[index].T
        found[f"up[{index}]"] = hidden
        found[f"down[{index}]"] = torch.relu(hidden) @ net.down[index].T
    return found


def _looped_outputs(net: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    assert isinstance(net, Looped)
    found = {}
    for index in range(3):
        hidden = inputs[0] @ net.up[index]
        found[f"up[{index}]"] = hidden
        found[f"down[{index}]"] = torch.relu(hidden) @ net.down[index]
    return found


CASES = {
    "experts": LayerCase(Routed, lambda: rows(16, 96), probe=_routed_outputs),
    "experts-deserted": LayerCase(
        Deserted,
        lambda: rows(16, 96),
        statuses={"up[3": "unreachable", "down[3": "unreachable"},
        probe=_routed_outputs,
    ),
    "experts-mixed": LayerCase(Mixed, lambda: rows(12), probe=_mixed_outputs),
    "experts-looped": LayerCase(Looped, lambda: rows(16), probe=_looped_outputs),
}
