"""The networks that training.py trains: those of the LSUV paper, made thin enough for one core.

FitNet-4 and FitResNet-4 have a quarter of the paper's widths; layers, sums and pools are the same.
As in sample_models/build.py, a maxout is the largest of two convolutions or five linear layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

CLASSIFIER_WIDTH = 125
MAXOUT_LINEAR_PIECES = 5
VERY_LEAKY_SLOPE = 1 / 3

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "vlrelu": lambda x: nn.functional.leaky_relu(x, VERY_LEAKY_SLOPE),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
ACTIVATION_NAMES = ("maxout", *ACTIVATIONS)


class Block(nn.Module):
    """Linear layers of one shape and the activation of what they give."""

    def __init__(self, pieces: Sequence[nn.Module], activation: str) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(pieces)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """The activation; of several pieces, the largest."""
        y: Tensor = self.pieces[0](x)
        for piece in self.pieces[1:]:
            y = torch.maximum(y, piece(x))
        return y if self.activation == "maxout" else ACTIVATIONS[self.activation](y)


def conv_block(in_channels: int, out_channels: int, activation: str, kernel: int = 3) -> Block:
    """A square convolution that keeps the size, and its activation."""
    pieces = 2 if activation == "maxout" else 1
    return Block(
        [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2) for _ in range(pieces)],
        activation,
    )


def linear_block(in_features: int, out_features: int, activation: str) -> Block:
    """A fully connected layer and its activation."""
    pieces = MAXOUT_LINEAR_PIECES if activation == "maxout" else 1
    return Block([nn.Linear(in_features, out_features) for _ in range(pieces)], activation)


class Residual(nn.Module):
    """Two convolutions whose output is added to their input."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.first = conv_block(channels, channels, activation)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.last: Callable[[Tensor], Tensor] = ACTIVATIONS.get(activation, lambda x: x)

    def forward(self, x: Tensor) -> Tensor:
        """The activation of the sum; with maxout, the sum."""
        summed: Tensor = self.last(x + self.second(self.first(x)))
        return summed


class HighwayLayer(nn.Module):
    """relu(H x) T(x) + x (1 - T(x)) with T(x) = sigmoid(W x + b), Srivastava et al. 2015."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.transform = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Between x and relu(H x), as the gate says."""
        gate = torch.sigmoid(self.gate(x))
        return torch.relu(self.transform(x)) * gate + x * (1 - gate)


class GlobalMaxPool(nn.Module):
    """(n, c, h, w) to (n, c)."""

    def forward(self, x: Tensor) -> Tensor:
        """The largest of each channel."""
        return x.amax((2, 3))


def pool(kernel: int = 2) -> nn.MaxPool2d:
    """Max-pooling of stride 2 whose last window may hang over the edge, as in Caffe."""
    return nn.MaxPool2d(kernel, 2, ceil_mode=True)


def thin(depth: int, activation: str, channels: int, classes: int) -> nn.Sequential:
    """`depth` layers on 8x8 pictures: 3x3 convolutions of 16 channels, one at 8x8, and a linear."""
    width = 16
    convolutions = [conv_block(width, width, activation) for _ in range(depth - 2)]
    first = conv_block(channels, width, activation)
    return nn.Sequential(first, pool(), *convolutions, GlobalMaxPool(), nn.Linear(width, classes))


def fitnet4(activation: str, channels: int, classes: int, *, residual: bool) -> nn.Sequential:
    """FitNet-4, or FitResNet-4 with sums over pairs of equally wide convolutions."""
    layers: list[nn.Module] = []
    for stage, widths in enumerate(([8, 8, 8, 12, 12], [20] * 6, [32] * 6)):
        layers += [pool()] if stage else []
        position = 0
        while position < len(widths):
            width = widths[position]
            if residual and channels == width and widths[position : position + 2] == [width] * 2:
                layers.append(Residual(width, activation))
                position += 2
            else:
                layers.append(conv_block(channels, width, activation))
                position += 1
            channels = width
    head = linear_block(channels, CLASSIFIER_WIDTH, activation)
    return nn.Sequential(*layers, GlobalMaxPool(), head, nn.Linear(CLASSIFIER_WIDTH, classes))


def fitnet_mnist(activation: str, channels: int, classes: int) -> nn.Sequential:
    """FitNet-MNIST, at the paper's widths: 6 convolutions and a linear layer, on 16x16 digits."""
    layers: list[nn.Module] = []
    for width, kernel in ((16, 4), (16, 4), (12, 2)):
        layers += [conv_block(channels, width, activation), conv_block(width, width, activation)]
        layers.append(pool(kernel))
        channels = width
    # Sizes: 16, (16-4)/2+1 = 7, ceil((7-4)/2)+1 = 3, ceil((3-2)/2)+1 = 2.
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12 * 2 * 2, classes))


def highway(activation: str, channels: int, classes: int) -> nn.Sequential:
    """A Highway network on 16x16 digits: a convolution, 8 highway layers, a linear layer."""
    width = 16
    layers: list[nn.Module] = [conv_block(channels, width, activation, kernel=5), pool()]
    for index in range(8):
        layers.append(HighwayLayer(width))
        layers += [pool()] if index in {3, 7} else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 2 * 2, classes))


def build(network: str, depth: int, activation: str, channels: int, classes: int) -> nn.Sequential:
    """A new network, with the weights that PyTorch gives it.

    Args:
        network: thin, fitnet4, fitresnet4, fitnet-mnist or highway.
        depth: layers of the thin network; the others' are fixed.
        activation: one of ACTIVATION_NAMES; of Highway, that of the first convolution.
        channels: of the pictures.
        classes: how many.
    """
    if network == "thin":
        return thin(depth, activation, channels, classes)
    if network == "fitnet-mnist":
        return fitnet_mnist(activation, channels, classes)
    if network == "highway":
        return highway(activation, channels, classes)
    return fitnet4(activation, channels, classes, residual=network == "fitresnet4")
