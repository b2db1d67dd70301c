"""Models of the pinned cases: each is written, with its samples, into a folder."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from pins import convolutional, sequential
from pins.graphs import MODEL, save_samples

SCRIPT = Path(__file__).resolve().parents[2] / "sample_models" / "build.py"

# The samples' shape. CaffeNet is left out: its file has 244 MB.
INPUTS = {
    "fitnet1": (8, 3, 32, 32),
    "fitnet4": (8, 3, 32, 32),
    "fitnet4_vlrelu": (8, 3, 32, 32),
    "fitnet4_tanh": (8, 3, 32, 32),
    "fitnet4_maxout": (8, 3, 32, 32),
    "fitnet_mnist": (8, 1, 28, 28),
    "fitresnet4": (8, 3, 32, 32),
    "highway": (8, 1, 28, 28),
    "googlenet": (2, 3, 224, 224),
}

Builder = Callable[[Path], None]


def sample_model(name: str) -> Builder:
    """Builder of a sample model, with a few random pictures as an array."""

    def build(folder: Path) -> None:
        build_sample_model(folder, name)
        save_samples(folder, *INPUTS[name])

    return build


def build_sample_model(folder: Path, name: str) -> None:
    """Write a sample model alone."""
    models: dict[str, Callable[[], onnx.ModelProto]] = runpy.run_path(str(SCRIPT))["MODELS"]
    onnx.save(models[name](), folder / MODEL)


def digits(folder: Path) -> None:
    """A sample model and grey PNG pictures, in two folders, that must be resized and cropped."""
    build_sample_model(folder, "fitnet_mnist")
    rng = np.random.default_rng(0)
    for index in range(20):
        parent = folder / "pictures" / str(index % 2)
        parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40 + index, 36), np.uint8)
        Image.fromarray(pixels).save(parent / f"{index:02}.png")


MODELS: dict[str, Builder] = {
    **{name: sample_model(name) for name in INPUTS},
    "digits": digits,
    "perceptron": convolutional.perceptron,
    "float16": convolutional.float16,
    "convolutions": convolutional.kinds_of_convolution,
    "batch_norm": convolutional.batch_norm,
    "ties": convolutional.ties,
    "torchscript": convolutional.torchscript,
    "lstm": sequential.lstm,
    "gru": sequential.gru,
    "control_flow": sequential.control_flow,
    "transformer": sequential.transformer,
    "fused_attention": sequential.fused_attention,
    "einsum": sequential.einsum,
}
