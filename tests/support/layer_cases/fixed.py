"""Layers whose filters are not to be drawn."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from support.layer_cases.case import NOWHERE, OLDER, ONNX_ROADS, LayerCase
from support.layer_cases.computed import pictures
from support.roads import Inputs


class Blurred(nn.Module):
    """A convolution, a blur that halves the picture, and a convolution."""

    filt: Tensor

    def __init__(self, *, persistent: bool) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0])
        self.head, self.tail = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        filters = (line[:, None] * line / 16).repeat(4, 1, 1, 1)
        self.register_buffer("filt", filters, persistent=persistent)

    def forward(self, x: Tensor) -> Any:
        blurred = functional.conv2d(torch.relu(self.head(x)), self.filt, stride=2, groups=4)
        return self.tail(blurred)


class Edges(nn.Module):
    """Edges found by a filter that is written down in the code, ahead of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 3)

    def forward(self, x: Tensor) -> Any:
        sobel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
        filters = torch.stack((sobel, sobel.T))[:, None]
        return self.tail(functional.conv2d(self.head(x), filters, groups=2))


class Distances(nn.Module):
    """The expected distance of a softmax over 16 bins, as in YOLO."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.dfl = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 1, 1, bias=False)
        self.dfl.requires_grad_(False)
        self.dfl.weight.data.copy_(torch.arange(16.0)[None, :, None, None])

    def forward(self, x: Tensor) -> Any:
        return self.dfl(self.head(x).softmax(1))


class FrozenBackbone(nn.Module):
    """A convolution without gradient, of random values, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.body.requires_grad_(False)

    def forward(self, x: Tensor) -> Any:
        return self.head(torch.relu(self.body(x)).mean((2, 3)))


class FrozenUpsampling(nn.Module):
    """A transposed convolution that enlarges bilinearly, without gradient, as in FCN."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 4, 1)
        self.up = nn.ConvTranspose2d(4, 4, 4, stride=2, groups=4, bias=False)
        self.tail = nn.Conv2d(4, 3, 3)
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        self.up.requires_grad_(False)
        self.up.weight.data.copy_((line[:, None] * line).expand(4, 1, 4, 4))

    def forward(self, x: Tensor) -> Any:
        return self.tail(self.up(self.head(x)))


class FilterBank(nn.Module):
    """Energies in overlapping bands, and a layer on their logarithms."""

    fb: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        distances = torch.arange(20.0)[:, None] - 2.5 * torch.arange(8)
        self.register_buffer("fb", functional.relu(1 - distances.abs() / 3))

    def forward(self, x: Tensor) -> Any:
        return self.fc(torch.log(self.bands(x) + 1e-3))

    def bands(self, x: Tensor) -> Tensor:
        """Return the energies in the bands."""
        return x @ self.fb


class TransposedBank(FilterBank):
    """The same with the bank on the left, on frames of the shape (frequency, time)."""

    def bands(self, x: Tensor) -> Tensor:
        return (self.fb.T @ x.transpose(1, 2)).transpose(1, 2)


class Spectrum(nn.Module):
    """A spectrum by convolution with sines and cosines, and a convolution on its logarithm."""

    basis: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = 2 * math.pi * torch.arange(5)[:, None] * torch.arange(8) / 8
        basis = torch.cat((angles.cos(), angles.sin())) * torch.hann_window(8)
        self.register_buffer("basis", basis[:, None])
        self.conv = nn.Conv1d(5, 6, 3)

    def forward(self, x: Tensor) -> Any:
        real, imaginary = functional.conv1d(x, self.basis, stride=4).chunk(2, 1)
        return self.conv(torch.log(real.square() + imaginary.square() + 1e-3))


# A transposed filter bank is folded.
UNTOLD = {"folded": "nothing tells", "dynamo": "folded"}


def _frames() -> Inputs:
    return (torch.rand(32, 5, 20),)


CASES = {
    "blur": LayerCase(
        lambda: Blurred(persistent=False),
        lambda: pictures(3, 12),
        fixed={"filt": NOWHERE},
        transient=("filt",),
    ),
    "blur-persistent": LayerCase(
        lambda: Blurred(persistent=True), lambda: pictures(3, 12), fixed={"filt": OLDER}
    ),
    "blur-edges": LayerCase(Edges, lambda: pictures(3, 12)),
    "frozen": LayerCase(Distances, lambda: pictures(3), fixed={"dfl": ONNX_ROADS}),
    "frozen-backbone": LayerCase(
        FrozenBackbone, lambda: pictures(3), fixed={"body": ONNX_ROADS}, looks_made=False
    ),
    "frozen-upsampling": LayerCase(FrozenUpsampling, lambda: pictures(3), fixed={"up": ONNX_ROADS}),
    "filterbank": LayerCase(FilterBank, _frames, fixed={"fb": OLDER}),
    "filterbank-left": LayerCase(TransposedBank, _frames, fixed={"fb": OLDER}, refused=UNTOLD),
    "filterbank-spectrum": LayerCase(
        Spectrum, lambda: (torch.randn(16, 1, 64),), fixed={"basis": OLDER}
    ),
}
