"""What users write today: LSUV of a PyTorch model by the `lsuv` package of PyPI.

    python benchmarks/competitor.py fitnet4 IMAGES OUT.pt

Prints the seconds inside the library's call. The networks are those of sample_models/build.py,
layer for layer and name for name; `whole_command.py` checks that they compute the same.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import lsuv
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def fitnet4() -> nn.Sequential:
    """FitNet-4 with ReLU: 17 convolutions, 2 fully connected layers."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, index = 3, 0
    for stage, widths in enumerate(((32, 32, 32, 48, 48), (80,) * 6, (128,) * 6), 1):
        for width in widths:
            index += 1
            layers[f"conv{index}"] = nn.Conv2d(channels, width, 3, padding=1)
            layers[f"relu{index}"] = nn.ReLU()
            channels = width
        if stage < 3:
            layers[f"pool{stage}"] = max_pool(2, 2)
    layers["global_pool"] = nn.AdaptiveMaxPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(128, 500)
    layers["fc1_relu"] = nn.ReLU()
    layers["fc2"] = nn.Linear(500, 10)
    return nn.Sequential(layers)


def max_pool(kernel: int, stride: int, padding: int = 0) -> nn.MaxPool2d:
    """Max-pooling whose last window may hang over the edge, as in Caffe."""
    return nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)


def lrn() -> nn.LocalResponseNorm:
    """Local response normalisation with AlexNet's constants."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)


class Inception(nn.ModuleDict):
    """One Inception module; widths: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection."""

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        one, three_reduce, three, five_reduce, five, projection = widths
        super().__init__(
            {
                "1x1": nn.Conv2d(channels, one, 1),
                "3x3_reduce": nn.Conv2d(channels, three_reduce, 1),
                "3x3": nn.Conv2d(three_reduce, three, 3, padding=1),
                "5x5_reduce": nn.Conv2d(channels, five_reduce, 1),
                "5x5": nn.Conv2d(five_reduce, five, 5, padding=2),
                "pool_proj": nn.Conv2d(channels, projection, 1),
            }
        )
        self.pool = max_pool(3, 1, 1)
        self.channels = one + three + five + projection

    def forward(self, x: Tensor) -> Tensor:
        """The four branches side by side."""
        branches = [
            self["1x1"](x),
            self["3x3"](torch.relu(self["3x3_reduce"](x))),
            self["5x5"](torch.relu(self["5x5_reduce"](x))),
            self["pool_proj"](self.pool(x)),
        ]
        return torch.cat([torch.relu(branch) for branch in branches], 1)


def googlenet() -> nn.Sequential:
    """BVLC GoogLeNet, main classifier: 57 convolutions, 1 fully connected layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3),
        conv1_relu=nn.ReLU(),
        pool1=max_pool(3, 2),
        norm1=lrn(),
        conv2_reduce=nn.Conv2d(64, 64, 1),
        conv2_reduce_relu=nn.ReLU(),
        conv2=nn.Conv2d(64, 192, 3, padding=1),
        conv2_relu=nn.ReLU(),
        norm2=lrn(),
        pool2=max_pool(3, 2),
    )
    channels = 192
    for name, widths in {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }.items():
        if name in ("4a", "5a"):
            layers[f"pool{int(name[0]) - 1}"] = max_pool(3, 2)
        module = Inception(channels, widths)
        layers[f"inception_{name}"] = module
        channels = module.channels
    layers["global_pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, 1000)
    return nn.Sequential(layers)


NETWORKS = {"fitnet4": (fitnet4, 32), "googlenet": (googlenet, 224)}


def load_batch(folder: Path, size: int) -> Tensor:
    """The pictures of a folder, (n, 3, size, size) float32, normalised."""
    pictures = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(resized, np.float32) / 255
        pictures.append(((pixels - MEAN) / STD).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(pictures))


def main() -> None:
    """Initialise the network named on the command line and save its state."""
    name, images, out = sys.argv[1:]
    build, size = NETWORKS[name]
    model = build()
    data = load_batch(Path(images), size)
    started = time.perf_counter()
    lsuv.lsuv_with_singlebatch(model, data, verbose=False)
    print(time.perf_counter() - started)
    torch.save(model.state_dict(), out)


if __name__ == "__main__":
    main()
