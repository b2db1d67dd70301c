"""Files of samples: arrays, pictures, tar archives and Parquet tables."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from torch import Tensor

from support.graphs import random_weight

SAMPLES = 8  # unless a test asks for more


def save_samples(folder: Path, shape: tuple[int, ...], count: int = SAMPLES) -> Path:
    """Save samples with unequal channel means, so that mean and variance are told apart."""
    samples = random_weight(count, *shape, seed=7) * 1.5 + 0.25
    path = folder / "samples.npy"
    np.save(path, samples)
    return path


def save_batch(folder: Path, inputs: tuple[Tensor, ...]) -> Path:
    """Save a batch for each input of a model that `torch_export.export` has written."""
    path = folder / "batch.npz"
    arrays: dict[str, Any] = {f"input{i}": value.numpy() for i, value in enumerate(inputs)}
    np.savez(path, **arrays)
    return path


def save_pictures(folder: Path, count: int = 6) -> Path:
    """Save random colour pictures of 8 by 8 pixels in a new folder."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def save_shard(folder: Path, count: int) -> Path:
    """Save pictures as a tar archive."""
    pictures = save_pictures(folder / "pictures", count)
    with tarfile.open(folder / "data.tar", "w") as archive:
        for path in sorted(pictures.iterdir()):
            archive.add(path, path.name)
    return folder / "data.tar"


def save_parquet(folder: Path, count: int) -> Path:
    """Save pictures as a Parquet table with more row groups than are remembered."""
    files = sorted(save_pictures(folder / "pictures", count).iterdir())
    table = pa.table({"image": [path.read_bytes() for path in files]})
    pq.write_table(table, folder / "data.parquet", row_group_size=2)
    return folder / "data.parquet"
