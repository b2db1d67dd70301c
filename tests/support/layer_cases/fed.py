"""Layers whose data are parameters or constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from support.layer_cases.case import FOLDED, LayerCase
from support.layer_cases.computed import pictures, rows


class Compared(nn.Module):
    """Samples compared with a table of vectors, projected both."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(10, 16))
        self.pos, self.x = nn.Linear(16, 16), nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Any:
        return self.x(x) @ self.norm(self.pos(self.table)).T


class Latents(nn.Module):
    """Learned latents, projected and added to what is made of the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(6, 8))
        self.project, self.body = nn.Linear(8, 12), nn.Linear(5, 12)
        self.tail = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Any:
        return self.tail(torch.tanh(self.body(x)[:, None] + self.project(self.latents)))


class Coordinates(nn.Module):
    """Positions from an MLP on coordinates, as in Swin V2."""

    coords: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4, bias=False))
        self.fc = nn.Linear(4, 4)
        self.register_buffer("coords", torch.linspace(-1, 1, 10).reshape(5, 2).contiguous())

    def forward(self, x: Tensor) -> Any:
        return self.fc(x)[:, None, :] + 16 * torch.sigmoid(self.mlp(self.coords))


class Frequencies(nn.Module):
    """Positions from an MLP on sines that the code computes."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(6, 10), nn.SiLU(), nn.Linear(10, 4))
        self.conv, self.tail = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        angles = torch.arange(6.0)[:, None] * torch.tensor([1.0, 0.3, 0.1])
        places = self.mlp(torch.cat((angles.sin(), angles.cos()), 1))
        return self.tail(torch.relu(self.conv(x) + places.T[None, :, None]))


class Generated(nn.Module):
    """A layer whose weight another layer makes of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.randn(6))
        self.make, self.fc = nn.Linear(6, 40), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        return functional.linear(torch.relu(self.fc(x)), self.make(self.latent).view(5, 8))


CASES = {
    "parameter_fed": LayerCase(lambda: Compared(norm=False), lambda: rows(16), refused=FOLDED),
    "parameter_fed-norm": LayerCase(lambda: Compared(norm=True), lambda: rows(16), refused=FOLDED),
    "parameter_fed-latents": LayerCase(Latents, lambda: rows(5), refused=FOLDED),
    "coordinate_mlp": LayerCase(Coordinates, lambda: rows(4), refused=FOLDED),
    "coordinate_mlp-frequencies": LayerCase(Frequencies, lambda: pictures(3), refused=FOLDED),
    "coordinate_mlp-generated": LayerCase(Generated, lambda: rows(8), refused=FOLDED),
}
