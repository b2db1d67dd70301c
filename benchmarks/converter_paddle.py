"""Networks of Paddle that paddle2onnx converts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from converter_entry import Converter, Written


def write() -> Iterator[Written]:
    """Yield networks of paddle.vision, and an encoder layer."""
    import paddle
    from paddle import nn
    from paddle.vision import models

    convolutional = nn.Sequential(
        nn.Conv2D(3, 8, 3), nn.BatchNorm2D(8), nn.ReLU(), nn.Conv2D(8, 8, 3, groups=2),
        nn.BatchNorm2D(8), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip
    networks: list[tuple[str, Any, tuple[int, ...]]] = [
        ("convolutions, BatchNorm", convolutional, (3, 16, 16)),
        ("MobileNetV2 x0.25", models.MobileNetV2(scale=0.25, num_classes=10), (3, 32, 32)),
        ("ResNet-18", models.resnet18(num_classes=10), (3, 32, 32)),
        ("encoder layer", nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0), (6, 16)),
    ]
    for name, network, shape in networks:
        network.eval()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model")
            spec = [paddle.static.InputSpec([None, *shape], "float32", "x")]
            paddle.onnx.export(network, str(path), input_spec=spec, opset_version=15)
            model = onnx.load(f"{path}.onnx")
        yield Written(name, model, {"x": shape})


CONVERTER = Converter("paddle2onnx", ("paddlepaddle", "paddle2onnx"), write)
