"""A generator of pictures in the manner of StyleGAN2, small: what its layers do, not its quality.

Equalised learning rates, convolutions that a style modulates and demodulates, blurred enlarging by
a fixed filter, a learned constant and fixed noise.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class FullyConnected(nn.Module):
    """A linear layer with an equalised learning rate, also of its bias."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.weight_gain, self.bias_gain = rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        weight = self.weight * self.weight_gain
        return functional.linear(x, weight, self.bias * self.bias_gain)


class Blur(nn.Module):
    """Enlarges twice by zeros and a fixed low-pass filter."""

    resample_filter: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0])
        filters = (line[:, None] * line / 16).expand(channels, 1, 4, 4)
        self.register_buffer("resample_filter", filters.contiguous())
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Return pictures of twice the size."""
        return functional.conv_transpose2d(
            x, self.resample_filter, stride=2, padding=1, groups=self.channels
        )


class Modulated(nn.Module):
    """A convolution whose inputs a style scales, its outputs normalised for that.

    Args:
        inputs: channels.
        outputs: channels.
        size: of the kernel.
        styles: width of the style.
        demodulate: whether outputs are normalised.
        fused: whether the style scales the weight, for every sample another, and not the inputs.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int, styles: int, *, demodulate: bool, fused: bool
    ) -> None:
        super().__init__()
        self.affine = FullyConnected(styles, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = 1 / math.sqrt(inputs * size * size)
        self.demodulate, self.fused = demodulate, fused

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return the layer's output without its bias."""
        style = self.affine(style)
        weight = self.weight * self.gain
        padding = self.weight.shape[-1] // 2
        own = weight[None] * style[:, None, :, None, None]
        sizes = torch.rsqrt(own.square().sum((2, 3, 4)) + 1e-8)
        if self.fused:
            if self.demodulate:
                own = own * sizes[:, :, None, None, None]
            count, outputs = x.shape[0], weight.shape[0]
            x = functional.conv2d(
                x.reshape(1, -1, *x.shape[2:]),
                own.reshape(-1, *weight.shape[1:]),
                padding=padding,
                groups=count,
            )
            return x.reshape(count, outputs, *x.shape[2:])
        x = functional.conv2d(x * style[:, :, None, None], weight, padding=padding)
        return x * sizes[:, :, None, None] if self.demodulate else x


class Block(nn.Module):
    """Enlarging, a modulated convolution, fixed noise, and the picture at this size."""

    noise_const: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, styles: int, *, fused: bool) -> None:
        super().__init__()
        self.up = Blur(inputs)
        self.conv = Modulated(inputs, outputs, 3, styles, demodulate=True, fused=fused)
        self.torgb = Modulated(outputs, 3, 1, styles, demodulate=False, fused=fused)
        self.register_buffer("noise_const", torch.randn(size, size))
        self.noise_strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and a picture."""
        x = self.conv(self.up(x), style) + self.noise_const * self.noise_strength
        x = functional.leaky_relu(x + self.conv.bias[:, None, None], 0.2) * math.sqrt(2)
        return x, self.torgb(x, style) + self.torgb.bias[:, None, None]


class Generator(nn.Module):
    """A mapping network and two blocks."""

    def __init__(self, *, fused: bool, width: int = 32) -> None:
        super().__init__()
        self.mapping = nn.ModuleList([FullyConnected(16, 16, rate=0.01) for _ in range(2)])
        self.const = nn.Parameter(torch.randn(width, 4, 4))
        self.enlarge = Blur(3)
        self.blocks = nn.ModuleList(
            [
                Block(width, width, 8, 16, fused=fused),
                Block(width, width // 2, 16, 16, fused=fused),
            ]
        )

    def forward(self, z: Tensor) -> Any:
        """Return pictures of shape (n, 3, 16, 16) for latents of shape (n, 16)."""
        style = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            style = functional.leaky_relu(layer(style), 0.2) * math.sqrt(2)
        x = self.const.repeat(z.shape[0], 1, 1, 1)
        picture = None
        for block in self.blocks:
            x, made = block(x, style)
            picture = made if picture is None else self.enlarge(picture) + made
        return picture
