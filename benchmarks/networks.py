"""Networks that the benchmarks build on the fly, of any depth and with random weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10


class Graph:
    """A graph under construction; every method appends nodes and returns the output's name."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append one node, whose only output carries its name."""
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def parameter(self, *shape: int, std: float = 0.0, mean: float = 0.0) -> str:
        """Draw a float32 parameter."""
        value = mean + std * self.rng.standard_normal(shape, dtype=np.float32)
        name = f"parameter{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def conv(self, x: str, before: int, after: int, kernel: int = 3, stride: int = 1) -> str:
        """A convolution that keeps the size, with bias."""
        std = 1 / math.sqrt(before * kernel**2)
        weight = self.parameter(after, before, kernel, kernel, std=std)
        bias = self.parameter(after)
        pads = [kernel // 2] * 4
        return self.node("Conv", [x, weight, bias], pads=pads, strides=[stride, stride])

    def linear(self, x: str, before: int, after: int) -> str:
        """A matrix product and the addition of its bias, as PyTorch exports them for sequences."""
        weight = self.parameter(before, after, std=1 / math.sqrt(before))
        return self.node("Add", [self.node("MatMul", [x, weight]), self.parameter(after)])

    def norm(self, x: str, channels: int) -> str:
        """A batch normalisation."""
        scale, variance = (self.parameter(channels, mean=1.0) for _ in range(2))
        shift, mean = (self.parameter(channels) for _ in range(2))
        return self.node("BatchNormalization", [x, scale, shift, mean, variance])

    def save(self, path: Path) -> Path:
        """Write the model whose output is the last node's."""
        output = helper.make_tensor_value_info(self.nodes[-1].output[0], TensorProto.FLOAT, None)
        fed = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *self.shape])
        graph = helper.make_graph(self.nodes, "network", [fed], [output], self.weights)
        opset = [helper.make_opsetid("", OPSET)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION), path)
        return path


def residual(path: Path, blocks: int = 3, widths: Sequence[int] = (32, 64, 128)) -> Path:
    """A residual network with batch normalisation, of three stages on 32x32 colour pictures."""
    graph = Graph((3, 32, 32))
    channels = widths[0]
    x = graph.node("Relu", [graph.norm(graph.conv("input", 3, channels), channels)])
    for width in widths:
        for block in range(blocks):
            stride = 2 if block == 0 and width != widths[0] else 1
            inner = graph.norm(graph.conv(x, channels, width, stride=stride), width)
            inner = graph.conv(graph.node("Relu", [inner]), width, width)
            inner = graph.norm(inner, width)
            if stride > 1 or width != channels:
                x = graph.norm(graph.conv(x, channels, width, kernel=1, stride=stride), width)
            x = graph.node("Relu", [graph.node("Add", [inner, x])])
            channels = width
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])])
    graph.linear(x, channels, 10)
    return graph.save(path)


def transformer_mlp(path: Path, blocks: int = 6, width: int = 256, tokens: int = 64) -> Path:
    """The MLP half of a transformer: normalise, four times as wide, GELU, back, add."""
    graph = Graph((tokens, width))
    x = "input"
    for _ in range(blocks):
        ones, zeros = graph.parameter(width, mean=1.0), graph.parameter(width)
        inner = graph.linear(graph.node("LayerNormalization", [x, ones, zeros]), width, 4 * width)
        inner = graph.linear(graph.node("Gelu", [inner]), 4 * width, width)
        x = graph.node("Add", [inner, x])
    graph.linear(x, width, width)
    return graph.save(path)


def mlp(path: Path, layers: int, width: int = 128) -> Path:
    """Fully connected layers with ReLU between them."""
    graph = Graph((width,))
    x = "input"
    for layer in range(layers):
        x = graph.linear(graph.node("Relu", [x]) if layer else x, width, width)
    return graph.save(path)


def conv_net(path: Path, layers: int, channels: int = 16, size: int = 16) -> Path:
    """3x3 convolutions with ReLU between them."""
    graph = Graph((channels, size, size))
    x = "input"
    for layer in range(layers):
        x = graph.conv(graph.node("Relu", [x]) if layer else x, channels, channels)
    return graph.save(path)
