"""Keras networks by way of TFLite, which tf2onnx reads."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from converter_entry import Converter, Written


def write() -> Iterator[Written]:
    """Yield what becomes of the Keras networks that TFLite can hold."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import tensorflow as tf
    import tf2onnx.convert
    from converter_keras import networks

    for name, network, shape in networks():
        if name == "LSTM":  # TFLite's control flow is none that tf2onnx reads
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.tflite")
            converter = tf.lite.TFLiteConverter.from_keras_model(network)
            path.write_bytes(converter.convert())
            model, _ = tf2onnx.convert.from_tflite(str(path), opset=15)
        yield Written(name, model, {model.graph.input[0].name: shape})


CONVERTER = Converter("tf2onnx, of TFLite", ("tensorflow-cpu", "tf2onnx"), write)
