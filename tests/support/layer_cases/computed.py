"""Layers whose weight is computed from parameters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils import spectral_norm as older_spectral_norm
from torch.nn.utils import weight_norm as older_weight_norm

from support.layer_cases.case import FOLDED, OLDER, LayerCase
from support.roads import Inputs


def rows(width: int, count: int = 48) -> Inputs:
    """Return samples of shape (count, width)."""
    return (torch.randn(count, width),)


def sequences(width: int, length: int = 5) -> Inputs:
    """Return samples of shape (32, length, width)."""
    return (torch.randn(32, length, width),)


def pictures(channels: int, size: int = 8) -> Inputs:
    """Return samples of shape (16, channels, size, size)."""
    return (torch.randn(16, channels, size, size),)


class EqualLinear(nn.Linear):
    """A linear layer with an equalised learning rate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.rate = 1 / math.sqrt(inputs)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 # as nn.Linear calls it
        return functional.linear(input, self.weight * self.rate, self.bias)


class EqualConv(nn.Conv2d):
    """A convolution with an equalised learning rate."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        weight = self.weight * (0.5 / math.sqrt(self.weight[0].numel()))
        return functional.conv2d(input, weight, self.bias, padding=1)


class EqualTransposed(nn.ConvTranspose2d):
    """A transposed convolution with a rate of each output's own."""

    rates: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3)
        self.register_buffer("rates", torch.linspace(0.2, 0.7, outputs)[:, None, None])

    def forward(self, input: Tensor, _size: list[int] | None = None) -> Tensor:  # noqa: A002
        return functional.conv_transpose2d(input, self.weight * self.rates, self.bias, stride=2)


class StandardConv(nn.Conv2d):
    """A convolution whose weight has mean 0 and variance 1 for each output; with a gain or none."""

    def __init__(self, inputs: int, outputs: int, *, gain: bool) -> None:
        super().__init__(inputs, outputs, 3)
        self.gain = nn.Parameter(torch.full((outputs, 1, 1, 1), 0.7)) if gain else None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        variance, mean = torch.var_mean(self.weight, dim=[1, 2, 3], keepdim=True, correction=0)
        weight = (self.weight - mean) * torch.rsqrt(variance + 1e-6)
        if self.gain is not None:
            weight = weight * (self.gain * self.weight[0].numel() ** -0.5)
        return functional.conv2d(input, weight, self.bias)


class BatchStandardConv(nn.Conv2d):
    """A convolution whose weight is standardised by batch normalisation, as in BiT."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        flat = self.weight.reshape(1, self.out_channels, -1)
        flat = functional.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-8)
        return functional.conv2d(input, flat.reshape_as(self.weight), self.bias)


class Cosine(nn.Linear):
    """A classifier whose rows are normalised, with one learned factor or none."""

    def __init__(self, inputs: int, outputs: int, *, factor: bool) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.factor = nn.Parameter(torch.tensor(3.0)) if factor else None

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        weight = functional.normalize(self.weight, dim=1)
        return functional.linear(input, weight if self.factor is None else self.factor * weight)


class LowRank(nn.Linear):
    """A linear layer with a correction of low rank."""

    def __init__(self, inputs: int, outputs: int, share: float = 1.0) -> None:
        super().__init__(inputs, outputs)
        self.share = share
        self.a = nn.Parameter(torch.randn(3, inputs))
        self.b = nn.Parameter(torch.randn(outputs, 3) * 0.1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        weight = self.weight + self.share * (self.b @ self.a)
        return functional.linear(input, weight, self.bias)


class Factorised(nn.Module):
    """A linear layer that is nothing but a product of two thin matrices."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.u = nn.Parameter(torch.randn(outputs, 3))
        self.v = nn.Parameter(torch.randn(3, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.u @ self.v)


class Autoregressive(nn.Linear):
    """A linear layer with a mask that keeps outputs from later inputs."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        places = torch.arange(outputs)[:, None] * inputs >= torch.arange(inputs) * outputs
        self.register_buffer("mask", places.float())

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return functional.linear(input, self.weight * self.mask, self.bias)


class Symmetric(nn.Module):
    """A parametrisation: the upper triangle decides."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).transpose(-1, -2)


def _pruned() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4))
    elements: Any = prune.l1_unstructured
    columns: Any = prune.ln_structured
    elements(net[0], "weight", 0.5)
    columns(net[3], "weight", 0.25, n=2, dim=1)
    return net


def _symmetric() -> nn.Module:
    first = parametrize.register_parametrization(nn.Linear(12, 12), "weight", Symmetric())
    return nn.Sequential(first, nn.Tanh(), nn.Linear(12, 4))


def _weight_norm() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv1d(4, 8, 3, padding=1)),
        nn.ReLU(),
        nn.Conv1d(8, 8, 3, padding=1),
        nn.Flatten(),
        parametrizations.weight_norm(nn.Linear(128, 5)),
    )


def _older_weight_norm() -> nn.Module:
    return nn.Sequential(
        older_weight_norm(nn.Linear(6, 12)),
        nn.Tanh(),
        older_weight_norm(nn.Linear(12, 12), dim=None),  # type: ignore[arg-type] # it takes None
        nn.ReLU(),
        older_weight_norm(nn.Linear(12, 4), dim=1),
    )


def _positional_weight_norm() -> nn.Module:
    """As wav2vec2's positional convolution: a gain for each place of the kernel."""
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv1d(8, 8, 5, padding=2, groups=2), dim=2),
        nn.GELU(),
        parametrizations.weight_norm(nn.ConvTranspose1d(8, 4, 4, stride=2)),
    )


def _spectral_norm() -> nn.Module:
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 3)
    )


def _older_spectral_norm() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), older_spectral_norm(nn.Conv2d(4, 6, 3)), nn.ReLU(), nn.Conv2d(6, 3, 3)
    )


def _orthogonal() -> nn.Module:
    return nn.Sequential(parametrizations.orthogonal(nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 3))


def _standardised(*, gain: bool) -> nn.Module:
    layers = nn.Conv2d(3, 3, 1), StandardConv(3, 8, gain=gain), nn.ReLU()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(288, 4))


CASES = {
    "equalised_rate": LayerCase(
        lambda: nn.Sequential(EqualLinear(16, 16), nn.ReLU(), EqualLinear(16, 4)),
        lambda: rows(16),
        refused=FOLDED,
    ),
    "equalised_rate-convolutions": LayerCase(
        lambda: nn.Sequential(EqualConv(3, 6, 3), nn.LeakyReLU(0.2), EqualTransposed(6, 3)),
        lambda: pictures(3),
        refused=FOLDED,
    ),
    "equalised_rate-sequences": LayerCase(
        lambda: nn.Sequential(EqualLinear(6, 12), nn.GELU(), EqualLinear(12, 4)),
        lambda: sequences(6),
        refused=FOLDED,
        doubted={"folded": "--like CHECKPOINT"},
    ),
    "weight_normalised": LayerCase(_weight_norm, lambda: (torch.randn(32, 4, 16),), refused=FOLDED),
    "weight_normalised-older": LayerCase(_older_weight_norm, lambda: sequences(6), refused=FOLDED),
    "weight_normalised-positions": LayerCase(
        _positional_weight_norm, lambda: (torch.randn(16, 8, 16),), refused=FOLDED
    ),
    "standardised": LayerCase(
        lambda: _standardised(gain=False),
        lambda: pictures(3),
        statuses={"1": "unscalable"},
        refused=FOLDED,
    ),
    "standardised-gain": LayerCase(
        lambda: _standardised(gain=True), lambda: pictures(3), refused=FOLDED
    ),
    "standardised-batch": LayerCase(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), BatchStandardConv(4, 6, 3), nn.ReLU()),
        lambda: pictures(3),
        statuses={"1": "unscalable"},
        refused=FOLDED,
    ),
    "low_rank": LayerCase(
        lambda: nn.Sequential(LowRank(12, 10), nn.Tanh(), nn.Linear(10, 4)),
        lambda: rows(12),
        refused=FOLDED,
    ),
    "low_rank-sequences": LayerCase(
        lambda: nn.Sequential(LowRank(6, 12, 0.5), nn.GELU(), LowRank(12, 4, 2.0)),
        lambda: sequences(6),
        refused=FOLDED,
    ),
    "low_rank-alone": LayerCase(
        lambda: nn.Sequential(
            nn.Linear(12, 10), nn.Tanh(), Factorised(10, 8), nn.ReLU(), nn.Linear(8, 3)
        ),
        lambda: rows(12),
        probe=lambda net, inputs: {"2": nn.Sequential(*net.children())[:3](*inputs)},
        refused=FOLDED,
    ),
    "spectral": LayerCase(
        _spectral_norm,
        lambda: rows(8),
        statuses={"0": "unscalable"},
        refused={"dynamo": "folded", "trace": "vdot"},
        closed=OLDER,
    ),
    "spectral-older": LayerCase(
        _older_spectral_norm,
        lambda: pictures(3),
        statuses={"1": "unscalable"},
        refused=FOLDED,
    ),
    "spectral-orthogonal": LayerCase(
        _orthogonal,
        lambda: rows(8),
        statuses={"0": "unscalable"},
        refused={
            "trace": "can't convert",
            "pt2": "can't convert",
            "module": "can't be converted to ONNX",
        },
        closed=frozenset((*OLDER, "dynamo", "unopt")),
    ),
    "cosine": LayerCase(
        lambda: nn.Sequential(nn.Linear(8, 12), nn.ReLU(), Cosine(12, 5, factor=False)),
        lambda: rows(8),
        statuses={"2": "unscalable"},
        refused=FOLDED,
    ),
    "cosine-factor": LayerCase(
        lambda: nn.Sequential(nn.Linear(8, 12), nn.ReLU(), Cosine(12, 5, factor=True)),
        lambda: rows(8),
        refused=FOLDED,
    ),
    "masked-pruned": LayerCase(_pruned, lambda: pictures(3), refused=FOLDED),
    "masked-autoregressive": LayerCase(
        lambda: nn.Sequential(Autoregressive(6, 12), nn.ReLU(), Autoregressive(12, 6)),
        lambda: rows(6),
        refused=FOLDED,
    ),
    "masked-symmetric": LayerCase(_symmetric, lambda: rows(12), refused=FOLDED),
}
