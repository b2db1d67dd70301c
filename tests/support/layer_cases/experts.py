"""Mixtures of experts whose weights are packed into one parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from support.layer_cases.case import FOLDED, LayerCase
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


class TopTwo(nn.Module):
    """Two experts with biases for each sample, weighed by the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4)
        self.up = nn.Parameter(torch.randn(4, 32, 16))
        self.up_bias = nn.Parameter(torch.randn(4, 32))
        self.down = nn.Parameter(torch.randn(4, 16, 32))
        self.down_bias = nn.Parameter(torch.randn(4, 16))

    def pick(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shares and the numbers of each sample's experts, (n, 2) each."""
        return torch.topk(self.gate(x).softmax(-1), 2)

    def forward(self, x: Tensor) -> Any:
        shares, top = self.pick(x)
        hidden = torch.matmul(self.up[top], x[:, None, :, None])[..., 0] + self.up_bias[top]
        hidden = nn.functional.gelu(hidden)[..., None]
        made = torch.matmul(self.down[top], hidden)[..., 0] + self.down_bias[top]
        return (made * shares[..., None]).sum(1)


class Summed(TopTwo):
    """The same with Einsum, as gpt-oss has it."""

    def forward(self, x: Tensor) -> Any:
        shares, top = self.pick(x)
        hidden = torch.einsum("beck,bk->bec", self.up[top, ...], x) + self.up_bias[top, ...]
        hidden = nn.functional.gelu(hidden)
        made = torch.einsum("beck,bek->bec", self.down[top, ...], hidden)
        return torch.einsum("bec,be->bc", made + self.down_bias[top, ...], shares)


class Batched(TopTwo):
    """The same with a row for each choice, as transformers has it for export."""

    def forward(self, x: Tensor) -> Any:
        shares, top = self.pick(x)
        samples = torch.arange(x.shape[0]).unsqueeze(1).expand(-1, 2).reshape(-1)
        flat = top.reshape(-1)
        hidden = torch.bmm(self.up[flat], x[samples].unsqueeze(-1)).squeeze(-1)
        hidden = nn.functional.gelu(hidden + self.up_bias[flat])
        made = torch.bmm(self.down[flat], hidden.unsqueeze(-1)).squeeze(-1) + self.down_bias[flat]
        return (made * shares.reshape(-1, 1)).view(x.shape[0], 2, -1).sum(1)


class Gathered(TopTwo):
    """Experts are modules, called one after the other on the rows that chose them."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.gate = nn.Linear(16, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 16)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Any:
        shares, top = self.pick(x)
        found = torch.zeros_like(x)
        chosen = nn.functional.one_hot(top, 4).permute(2, 1, 0)
        for number, expert in enumerate(self.experts):
            place, rows = torch.where(chosen[number])
            found.index_add_(0, rows, expert(x[rows]) * shares[rows, place, None])
        return found


class Biased(Mixed):
    """All experts see all samples, and each has its biases."""

    def __init__(self) -> None:
        super().__init__()
        self.up_bias = nn.Parameter(torch.randn(3, 1, 20))
        self.down_bias = nn.Parameter(torch.randn(3, 1, 8))

    def forward(self, x: Tensor) -> Any:
        shares = self.gate(x).softmax(-1)
        hidden = torch.relu(x @ self.up.transpose(1, 2) + self.up_bias)
        made = torch.baddbmm(self.down_bias, hidden, self.down.transpose(1, 2))
        return (made * shares.t()[..., None]).sum(0)


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


def _picked_outputs(net: nn.Module, inputs: Inputs) -> dict[str, Tensor]:
    """Return the outputs of each of two experts on the samples that reach it."""
    assert isinstance(net, TopTwo)
    (x,) = inputs
    found = {}
    _, top = net.pick(x)
    for index in range(4):
        chosen = x[(top == index).any(1)]
        hidden = chosen @ net.up[index].T + net.up_bias[index]
        found[f"up[{index}]"] = hidden
        found[f"down[{index}]"] = nn.functional.gelu(hidden) @ net.down[index].T
        found[f"down[{index}]"] += net.down_bias[index]
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
    "experts": LayerCase(Routed, lambda: rows(16, 96), probe=_routed_outputs, refused=FOLDED),
    "experts-deserted": LayerCase(
        Deserted,
        lambda: rows(16, 96),
        statuses={"up[3": "unreachable", "down[3": "unreachable"},
        probe=_routed_outputs,
        refused=FOLDED,
    ),
    "experts-top": LayerCase(TopTwo, lambda: rows(16, 96), probe=_picked_outputs, refused=FOLDED),
    "experts-summed": LayerCase(
        Summed, lambda: rows(16, 96), probe=_picked_outputs, refused=FOLDED
    ),
    "experts-batched": LayerCase(
        Batched, lambda: rows(16, 96), probe=_picked_outputs, refused=FOLDED
    ),
    "experts-gathered": LayerCase(Gathered, lambda: rows(16, 96)),
    "experts-mixed": LayerCase(Mixed, lambda: rows(12), probe=_mixed_outputs),
    "experts-biased": LayerCase(Biased, lambda: rows(12), probe=_mixed_outputs, refused=FOLDED),
    "experts-looped": LayerCase(
        Looped,
        lambda: rows(16),
        probe=_looped_outputs,
        refused={"folded": "nothing tells", "dynamo": "folded"},
    ),
}
