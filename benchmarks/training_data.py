"""Real pictures for training.py, from what ships in scikit-learn's and scikit-image's wheels.

digits: UCI's handwritten digits (Alpaydin & Kaynak 1998), 8x8 grey, ten classes; `digits16` are the
same, enlarged to 16x16. photos: 8x8 colour patches of the seven photographs that
sample_models/images.py describes, at half their resolution; the class is the photograph.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "sample_models"))

import images

TILE = 32  # pixels of a photograph; all four patches of a tile go to the same part
PATCH = 16
# Of a photograph: tiles used, those for training, those for validation; the rest is for testing.
PHOTO_TILES = (120, 84, 6)
# For training and for validation.
DIGIT_SHARES = (0.72, 0.08)

Part = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures, float32 (n, c, h, w), of mean 0 and standard deviation 1 in training; labels."""

    train: Part
    validation: Part
    test: Part
    classes: int

    @property
    def channels(self) -> int:
        """Of a picture."""
        return int(self.train[0].shape[1])


def normalised(
    pictures: NDArray[np.float32], labels: NDArray[np.int64], part: NDArray[np.int64], classes: int
) -> Dataset:
    """Split by `part` (0 training, 1 validation, 2 test), standardised by the training pictures."""
    train = pictures[part == 0]
    pictures = (pictures - train.mean()) / train.std()
    parts = [
        (torch.from_numpy(pictures[part == i]), torch.from_numpy(labels[part == i]))
        for i in range(3)
    ]
    return Dataset(parts[0], parts[1], parts[2], classes)


def digits(size: int) -> Dataset:
    """The 1797 digits, split at random (always alike), enlarged to `size` bilinearly."""
    loaded = sklearn.datasets.load_digits()
    pictures = torch.from_numpy(loaded.images.astype(np.float32)[:, None])
    if size != pictures.shape[-1]:
        pictures = torch.nn.functional.interpolate(pictures, size=(size, size), mode="bilinear")
    order = np.random.default_rng(0).permutation(len(pictures))
    shares = np.cumsum(DIGIT_SHARES) * len(order)
    part = np.searchsorted(shares, np.argsort(order), side="right")
    return normalised(pictures.numpy(), loaded.target.astype(np.int64), part, 10)


def photos() -> Dataset:
    """Patches of seven photographs; training, validation and test use different tiles."""
    patches, labels, parts = [], [], []
    rng = np.random.default_rng(0)
    tiles, train, validation = PHOTO_TILES
    photographs = sorted(images.photographs().items())
    for label, (_, photo) in enumerate(photographs):
        pixels = np.asarray(photo, np.float32) / 255
        rows, columns = (length // TILE for length in pixels.shape[:2])
        chosen = rng.permutation(rows * columns)[:tiles]
        for place, tile in enumerate(chosen):
            top, left = tile // columns * TILE, tile % columns * TILE
            # (2, 8, 2, 2, 8, 2, 3): patch, row, half, patch, column, half, colour
            halves = pixels[top : top + TILE, left : left + TILE].reshape(2, 8, 2, 2, 8, 2, 3)
            small = halves.mean((2, 5)).transpose(0, 2, 4, 1, 3).reshape(4, 3, 8, 8)
            patches.append(small)
            labels += [label] * 4
            parts += [0 if place < train else 1 if place < train + validation else 2] * 4
    return normalised(
        np.concatenate(patches), np.asarray(labels), np.asarray(parts), len(photographs)
    )


def load(name: str) -> Dataset:
    """`digits`, `digits16` or `photos`."""
    if name == "photos":
        return photos()
    return digits(16 if name == "digits16" else 8)
