"""Writes the models beside this file; run by hand, with TensorFlow 2.21, Keras 3.15, tf2onnx 1.17.

Beside each model goes a JSON file with the path and shape of each of the Keras model's variables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import layers
from keras.src.export.tf2onnx_lib import patch_tf2onnx

HERE = Path(__file__).parent

# TensorFlow leaves out a bias that is zero, as a new one is.
BIAS = {"bias_initializer": "random_normal"}


def dense(units: int, **options: object) -> layers.Dense:
    return layers.Dense(units, **(BIAS | options))


def convolutional() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, padding="same", activation="relu", **BIAS),
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, **BIAS),
            layers.ReLU(),
            layers.SeparableConv2D(8, 3, activation="relu", **BIAS),
            layers.Conv2DTranspose(5, 3, strides=2, activation="tanh", **BIAS),
            layers.GlobalAveragePooling2D(),
            dense(4),
        ]
    )


def one_dimensional() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((20, 3)),
            layers.Conv1D(6, 3, activation="relu", **BIAS),
            layers.Conv1D(6, 3, dilation_rate=2, padding="causal", activation="relu", **BIAS),
            layers.DepthwiseConv1D(3, **BIAS),
            layers.SeparableConv1D(5, 3, activation="relu", **BIAS),
            layers.Conv1DTranspose(4, 3, activation="relu", **BIAS),
            layers.Flatten(),
            dense(4),
        ]
    )


def three_dimensional() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((4, 4, 4, 2)),
            layers.Conv3D(6, 2, activation="relu", **BIAS),
            layers.Conv3DTranspose(4, 2, activation="relu", **BIAS),
            layers.GlobalMaxPooling3D(),
            dense(3),
        ]
    )


def attention() -> keras.Model:
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8)(ids)
    attended = layers.MultiHeadAttention(2, 3, value_dim=5, **BIAS)(x, x)
    norm = {"beta_initializer": "random_normal", "gamma_initializer": "random_normal"}
    x = layers.LayerNormalization(**norm)(layers.Add()([x, attended]))
    x = dense(12, activation="relu")(x)
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d", **BIAS)(x)
    return keras.Model(ids, x)


class Block(layers.Layer):
    """A layer of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = dense(12), dense(8)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.narrow(keras.ops.relu(self.wide(x)))


def nested() -> keras.Model:
    """Of whose containers only Keras knows which count."""
    inner = keras.Input((8,))
    backbone = keras.Model(inner, dense(8)(inner), name="backbone")
    encoder = keras.Sequential([keras.Input((5,)), dense(8), layers.ReLU()], name="encoder")
    x = keras.Input((5,), name="x")
    h = Block()(backbone(encoder(x)))
    shared = dense(8, activation="tanh", name="shared")
    return keras.Model(x, dense(3, name="head")(shared(shared(h))), name="net")


class Subclassed(keras.Model):
    """Layers as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dense(7)
        self.heads = [dense(4), dense(4)]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = keras.ops.relu(self.first(x))
        return self.heads[0](x) + self.heads[1](x)


def equal() -> keras.Model:
    """Layers of equal weights, which tf2onnx stores once."""

    def same(layer: Callable[..., layers.Layer], *sizes: int) -> layers.Layer:
        seeded = keras.initializers.RandomNormal(seed=3)
        start = {"kernel_initializer": seeded, "bias_initializer": seeded}
        return layer(*sizes, **start, activation="relu")

    return keras.Sequential(
        [
            keras.Input((4, 6)),
            same(layers.Conv1D, 6, 1),
            same(layers.Conv1D, 6, 1),
            layers.Flatten(),
            layers.Dense(6, use_bias=False),
            same(layers.Dense, 6),
            same(layers.Dense, 6),
        ]
    )


def fresh() -> keras.Model:
    """A new model: zero biases, BatchNormalization that can't be folded into what is before it."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dense(3),
        ]
    )


def normalised() -> keras.Model:
    """A convolution with BatchNormalization, which is folded into it."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            dense(3),
        ]
    )


def by_keras(model: keras.Model, path: Path) -> None:
    model.export(path, format="onnx", verbose=False)


def in_training(model: keras.Model, path: Path) -> None:
    signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), name="x")]
    function = tf.function(lambda x: model(x, training=True))
    tf2onnx.convert.from_function(function, signature, output_path=str(path))


def from_saved_model(model: keras.Model, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        convert = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", folder]
        subprocess.run([*convert, "--output", str(path)], check=True, capture_output=True)


Export = Callable[[keras.Model, Path], None]
MODELS: dict[str, tuple[Callable[[], keras.Model], Export]] = {
    "convolutional": (convolutional, by_keras),
    "one_dimensional": (one_dimensional, by_keras),
    "three_dimensional": (three_dimensional, by_keras),
    "attention": (attention, by_keras),
    "nested": (nested, by_keras),
    "subclassed": (Subclassed, by_keras),
    "equal": (equal, by_keras),
    "fresh": (fresh, by_keras),
    "folded": (normalised, by_keras),
    "in_training": (normalised, in_training),
    "saved_model": (fresh, from_saved_model),
}


def main() -> None:
    patch_tf2onnx()
    for name, (build, export) in MODELS.items():
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        model = build()
        # Keras exports no model that was never called.
        example = keras.Input((5,)) if isinstance(model, Subclassed) else model.inputs[0]
        model(np.zeros((1, *example.shape[1:]), example.dtype))
        export(model, HERE / f"{name}.onnx")
        paths = {variable.path: list(variable.shape) for variable in model.weights}
        lines = ",\n".join(f"{json.dumps(path)}: {shape}" for path, shape in paths.items())
        (HERE / f"{name}.json").write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
