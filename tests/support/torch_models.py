"""A table of PyTorch networks, and a batch of inputs for each of them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from support.torch_convolutional import Dense, Depthwise, UNet
from support.torch_transformers import GPT, Encoder, Mixer, ViT

BATCH = 16


class TwoInputs(nn.Module):
    """A picture and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.side = nn.Linear(4, 6)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits."""
        joined = torch.cat([torch.relu(self.conv(x)).mean((2, 3)), torch.tanh(self.side(y))], 1)
        result: Tensor = self.head(joined)
        return result


class Repeated(nn.Module):
    """One module called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.cell = nn.Linear(12, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.first(x))
        for _ in range(3):
            x = torch.tanh(self.cell(x))
        result: Tensor = self.head(x)
        return result


class Cloned(nn.Module):
    """Layers that are copies of each other, as nn.TransformerEncoder makes them; no ties."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(12, 12)
        self.layers = nn.ModuleList([copy.deepcopy(layer) for _ in range(3)])
        self.convs = nn.ModuleList([copy.deepcopy(nn.Conv1d(4, 4, 1)) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        for conv in self.convs:
            x = torch.tanh(conv(x))
        return x


PICTURE = ((3, 8, 8),)

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "convolutional": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(12, 10),
            nn.Tanh(),
            nn.Linear(10, 5),
        ),
        PICTURE,
    ),
    "depthwise with BatchNorm": (Depthwise, PICTURE),
    "dense": (Dense, PICTURE),
    "U-Net": (UNet, PICTURE),
    "1-d": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 8, 5, stride=2),
            nn.SiLU(),
            nn.Conv1d(8, 8, 3, dilation=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        ),
        ((2, 40),),
    ),
    "3-d": (
        lambda: nn.Sequential(
            nn.Conv3d(2, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool3d(2),
            nn.Conv3d(6, 6, 2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(6, 5),
        ),
        ((2, 4, 4, 4),),
    ),
    "Mixer": (Mixer, PICTURE),
    "ViT": (ViT, PICTURE),
    "GPT": (GPT, ((6,),)),
    "two inputs": (TwoInputs, ((3, 8, 8), (4,))),
    "repeated": (Repeated, ((12,),)),
    "cloned": (Cloned, ((4, 12),)),
    "encoder": (Encoder, ((6, 12),)),
}


def example(name: str) -> tuple[Tensor, ...]:
    """Return a batch for each input of a model of the table."""
    generator = torch.Generator().manual_seed(0)
    if name == "GPT":
        return (torch.randint(0, 40, (BATCH, 6), generator=generator),)
    return tuple(torch.randn(BATCH, *shape, generator=generator) for shape in MODELS[name][1])


def built(name: str) -> nn.Module:
    """Build a model of the table with reproducible weights, in eval mode."""
    torch.backends.mha.set_fastpath_enabled(False)
    torch.manual_seed(0)
    return MODELS[name][0]().eval()
