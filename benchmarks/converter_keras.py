"""Keras networks, exported by Keras itself on the backend that KERAS_BACKEND names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from converter_entry import Converter, Written


def networks() -> list[tuple[str, Any, tuple[int, ...]]]:
    """Return names, models and shapes of a sample."""
    import keras
    from keras import layers

    sizes = {"convolutions, BatchNorm": (16, 16, 3), "attention": (6, 16), "LSTM": (7, 5)}
    first = keras.Input(sizes["convolutions, BatchNorm"])
    value = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3)(first)))
    value = layers.ReLU()(layers.SeparableConv2D(8, 3)(value))
    convolutional = keras.Model(
        first, layers.Dense(10)(layers.GlobalAveragePooling2D()(value)), name="convolutional"
    )
    first = keras.Input(sizes["attention"])
    value = layers.LayerNormalization()(first)
    value = first + layers.MultiHeadAttention(4, 4)(value, value)
    attention = keras.Model(
        first, layers.Dense(16)(layers.Dense(32, "relu")(value)), name="attention"
    )
    first = keras.Input(sizes["LSTM"])
    recurrent = keras.Model(first, layers.Dense(3)(layers.LSTM(6)(first)), name="recurrent")
    models = (convolutional, attention, recurrent)
    return [
        (name, model, shape) for (name, shape), model in zip(sizes.items(), models, strict=True)
    ]


def write(backend: str) -> Iterator[Written]:
    """Yield a convolutional, an attentive and a recurrent network."""
    os.environ["KERAS_BACKEND"] = backend
    for name, network, shape in networks():
        if backend == "torch" and name == "attention":  # Keras' own export fails on it
            continue
        network(np.zeros((1, *shape), np.float32))  # Keras exports only what has been called
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            network.export(path, format="onnx", verbose=False)
            model = onnx.load(path)
        yield Written(name, model, {model.graph.input[0].name: shape})


TENSORFLOW = Converter(
    "Keras 3 on TensorFlow", ("keras", "tensorflow-cpu", "tf2onnx"), partial(write, "tensorflow")
)
JAX = Converter("Keras 3 on JAX", ("keras", "jax", "tf2onnx"), partial(write, "jax"))
TORCH = Converter("Keras 3 on PyTorch", ("keras", "torch", "onnxscript"), partial(write, "torch"))
