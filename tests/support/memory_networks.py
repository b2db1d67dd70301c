"""Networks whose sizes only a run can tell, as PyTorch's older exporter writes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional


def _same(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """A strided convolution that pads as TensorFlow's "same", from the size of what it is fed."""
    paddings = []
    for axis in (3, 2):
        size = x.shape[axis]
        kernel, stride = convolution.kernel_size[axis - 2], convolution.stride[axis - 2]
        whole = (-(-size // stride) - 1) * stride + kernel - size
        paddings += [whole // 2, whole - whole // 2]
    result: Tensor = convolution(functional.pad(x, paddings))
    return result


class SameNet(nn.Module):
    """Two such convolutions, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, stride=2), nn.Conv2d(16, 32, 5, stride=2)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        maps = _same(self.second, _same(self.first, x).relu()).relu()
        result: Tensor = self.head(maps.mean((2, 3)))
        return result


class UNet(nn.Module):
    """Two levels; what comes from below is resized and padded to what it is joined with."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(3, width, 3, padding=1)
        self.down2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.bottom = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.up2 = nn.Conv2d(4 * width, width, 3, padding=1)
        self.up1 = nn.Conv2d(2 * width, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """A map of the input's size."""
        high = self.down1(x).relu()
        middle = self.down2(functional.max_pool2d(high, 2)).relu()
        low = self.bottom(functional.max_pool2d(middle, 2)).relu()
        middle = self.up2(_joined(low, middle)).relu()
        result: Tensor = self.up1(_joined(middle, high))
        return result


def _joined(low: Tensor, high: Tensor) -> Tensor:
    grown = functional.interpolate(low, scale_factor=2, mode="nearest")
    rows, columns = (high.size(axis) - grown.size(axis) for axis in (2, 3))
    paddings = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
    return torch.cat([high, functional.pad(grown, paddings)], 1)


class Split(nn.Module):
    """Between two linear layers a sequence of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        """The second layer's output."""
        head, rest = torch.tensor_split(self.first(x), indices=(1,), dim=1)
        result: Tensor = self.second(torch.cat([head, rest.relu()], 1))
        return result


class Recurrent(nn.Module):
    """Two layers of LSTM in both directions, and a linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 32, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        result: Tensor = self.head(self.lstm(x)[0][:, -1])
        return result


class Transformer(nn.Module):
    """Two encoder layers, and a linear one."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 128, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        result: Tensor = self.head(self.encoder(x).mean(1))
        return result


@dataclass(frozen=True, slots=True)
class Network:
    """A network and what it takes.

    Attributes:
        build: makes it.
        shape: of one sample.
        open_axes: those of its axes whose sizes the exported file leaves open.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    open_axes: tuple[int, ...] = ()

    def export(self, path: Path) -> Path:
        """Write it as ONNX, its input called `x`."""
        torch.manual_seed(0)
        axes = {0: "n", **{axis: f"size{axis}" for axis in self.open_axes}}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.build().eval(),
                (torch.zeros(2, *self.shape),),
                str(path),
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": axes},
                opset_version=17,
            )
        return path


NETWORKS = {
    "same padding": Network(SameNet, (3, 33, 30), (2, 3)),
    "U-Net": Network(UNet, (3, 38, 35), (2, 3)),
    "sequence": Network(Split, (6, 16)),
    "LSTM": Network(Recurrent, (20, 16)),
    "transformer": Network(Transformer, (24, 32)),
}
