"""Files of PyTorch's exporter that another tool has rewritten."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from converter_entry import Converter, Written

Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto]


def exported() -> Iterator[Written]:
    """Yield files of the older exporter, unfolded: convolutions, attention, an LSTM."""
    import torch
    from torch import nn

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(16)
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
            self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            parts = self.qkv(self.norm(x)).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
            mixed = nn.functional.scaled_dot_product_attention(*parts.unbind(0))
            x = x + self.out(mixed.transpose(1, 2).flatten(2))
            down: torch.Tensor = self.down(nn.functional.gelu(self.up(x)))
            return x + down

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(5, 6, batch_first=True)
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            head: torch.Tensor = self.head(self.lstm(x)[0][:, -1])
            return head

    torch.manual_seed(0)
    convolutional = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2),
        nn.BatchNorm2d(8), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip
    networks: list[tuple[str, nn.Module, tuple[int, ...]]] = [
        ("convolutions, BatchNorm", convolutional, (3, 16, 16)),
        ("attention", Attention(), (6, 16)),
        ("LSTM", Recurrent(), (7, 5)),
    ]
    for name, network, shape in networks:
        network.eval()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            torch.onnx.export(
                network,
                (torch.randn(2, *shape),),
                path,
                input_names=["x"],
                dynamic_axes={"x": {0: "n"}},
                training=torch.onnx.TrainingMode.PRESERVE,  # else BatchNorm is folded
                do_constant_folding=False,
                dynamo=False,
            )
            model = onnx.load(path)
        yield Written(name, model, {"x": shape})


def onnxsim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return what onnxsim makes of a model."""
    import onnxsim as library

    simplified: tuple[onnx.ModelProto, bool] = library.simplify(model)
    return simplified[0]


def onnxslim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return what onnxslim makes of a model."""
    import onnxslim as library

    slim: onnx.ModelProto = library.slim(model)
    return slim


def float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose weights and values onnxconverter-common has made float16."""
    from onnxconverter_common import float16 as library

    half: onnx.ModelProto = library.convert_float_to_float16(model, keep_io_types=True)
    return half


def extended(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return what ONNX Runtime writes after its extended optimisations."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.graph_optimization_level = level
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder, "model.onnx"))
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.load(options.optimized_model_filepath)


def write(rewrite: Rewrite, *, without: str = "") -> Iterator[Written]:
    """Yield the rewritten files, but for the one of the network `without`."""
    for one in exported():
        if one.name == without:
            continue
        yield Written(one.name, rewrite(one.model), one.shapes)


ONNXSIM = Converter("onnxsim, of PyTorch", ("onnxsim",), partial(write, onnxsim))
ONNXSLIM = Converter("onnxslim, of PyTorch", ("onnxslim",), partial(write, onnxslim))
# Of attention it makes a division of float16 by float, which ONNX Runtime refuses.
FLOAT16 = Converter(
    "onnxconverter-common's float16, of PyTorch",
    ("onnxconverter-common",),
    partial(write, float16, without="attention"),
)
EXTENDED = Converter(
    "ONNX Runtime, extended optimisation, of PyTorch",
    ("onnxruntime-gpu",),
    partial(write, extended),
)
