"""Models of convolutions and of fully connected layers."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from onnx import TensorProto

from pins.graphs import Graph, save_samples

CHANNELS = 8
COUNT = 25  # no multiple of the batch sizes that the cases ask for


def perceptron(folder: Path) -> None:
    """Three fully connected layers with biases, of different activations."""
    graph = Graph("perceptron", ("n", 12))
    x = graph.node("Relu", graph.layer("Gemm", "x", "fc1", 16, 12), "relu")
    x = graph.node("Tanh", graph.layer("Gemm", x, "fc2", 10, 16), "tanh")
    graph.save(folder, graph.layer("Gemm", x, "fc3", 4, 10))
    save_samples(folder, 64, 12)


def float16(folder: Path) -> None:
    """A convolution and two products in float16."""
    graph = Graph("float16", ("n", 3, 8, 8), TensorProto.FLOAT16)
    x = graph.layer("Conv", "x", "conv", CHANNELS, 3, 3, 3, pads=[1] * 4)
    x = graph.node("GlobalAveragePool", graph.node("Relu", x, "relu"), "pool")
    x = graph.layer("Gemm", graph.node("Flatten", x, "flat"), "fc1", 12, CHANNELS)
    x = graph.node("MatMul", f"{x} {graph.weight('fc2.weight', 12, 5)}", "fc2")
    graph.save(folder, x, np.float16)
    save_samples(folder, COUNT, 3, 8, 8, dtype=np.float16)


def kinds_of_convolution(folder: Path) -> None:
    """Convolutions: plain, grouped, depthwise, dilated, transposed and 1 x 1, and a skip."""
    graph = Graph("kinds of convolution", ("n", 3, 8, 8))
    first = graph.layer("Conv", "x", "stem", CHANNELS, 3, 3, 3, pads=[1] * 4, strides=[2, 2])
    skip = graph.node("LeakyRelu", first, "leaky", alpha=0.2)
    x = graph.layer("Conv", skip, "grouped", CHANNELS, CHANNELS // 2, 3, 3, pads=[1] * 4, group=2)
    x = graph.node("Sigmoid", x, "open")
    x = graph.layer("Conv", x, "depthwise", CHANNELS, 1, 3, 3, pads=[1] * 4, group=CHANNELS)
    x = graph.node("Clip", f"{x} {graph.fixed('zero', 0, np.float32)}", "clip")
    x = graph.layer("Conv", x, "dilated", CHANNELS, CHANNELS, 3, 3, pads=[2] * 4, dilations=[2, 2])
    x = graph.node("Relu", graph.node("Add", f"{x} {skip}", "sum"), "relu")
    x = graph.layer("ConvTranspose", x, "up", CHANNELS, 6, 2, 2, strides=[2, 2])
    x = graph.node("Concat", f"{graph.node('Relu', x, 'relu2')} x", "concat", axis=1)
    graph.save(folder, graph.layer("Conv", x, "last", 2, 9, 1, 1))
    save_samples(folder, COUNT, 3, 8, 8)


def batch_norm(folder: Path) -> None:
    """Convolutions with BatchNormalization behind and before, a residual sum, and a head."""
    graph = Graph("batch norm", ("n", 3, 6, 6))

    def conv(data: str, output: str) -> str:
        return graph.layer("Conv", data, output, CHANNELS, CHANNELS, 3, 3, pads=[1] * 4)

    x = graph.layer("Conv", "x", "stem", CHANNELS, 3, 3, 3)
    skip = graph.node("Relu", graph.batch_norm(x, "bn1", CHANNELS), "relu1")
    x = graph.node("Relu", graph.batch_norm(conv(skip, "conv1"), "bn2", CHANNELS), "relu2")
    x = graph.node("Add", f"{conv(x, 'conv2')} {skip}", "sum")
    x = graph.node("Relu", graph.batch_norm(x, "bn3", CHANNELS), "relu3")
    x = graph.node("Flatten", graph.node("GlobalAveragePool", x, "pool"), "flat")
    graph.save(folder, graph.batch_norm(graph.layer("Gemm", x, "fc", 6, CHANNELS), "bn4", 6))
    save_samples(folder, COUNT, 3, 6, 6)


def ties(folder: Path) -> None:
    """A weight that two products share, one of them transposed, and a convolution used twice."""
    graph = Graph("ties", ("n", CHANNELS, 4, 4))
    kernel = graph.weight("shared.weight", CHANNELS, CHANNELS, 3, 3)
    x = graph.node("Conv", f"x {kernel}", "conv1", pads=[1] * 4)
    x = graph.node("Conv", f"{graph.node('Relu', x, 'relu1')} {kernel}", "conv2", pads=[1] * 4)
    x = graph.node("Flatten", graph.node("GlobalMaxPool", x, "pool"), "flat")
    tied = graph.weight("tied.weight", CHANNELS, 5)
    x = graph.node("Tanh", graph.node("MatMul", f"{x} {tied}", "encode"), "tanh")
    transposed = graph.node("Transpose", tied, "tied.transposed", perm=[1, 0])
    graph.save(folder, graph.node("MatMul", f"{x} {transposed}", "decode"))
    save_samples(folder, COUNT, CHANNELS, 4, 4)


def torchscript(folder: Path) -> None:
    """A traced module with a convolution, BatchNorm and a head, as TorchScript."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(CHANNELS, 5),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module.eval(), torch.zeros(2, 3, 6, 6))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, folder / "model.pt")
    save_samples(folder, COUNT, 3, 6, 6)
