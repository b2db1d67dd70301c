"""Construction of small ONNX files with seeded weights, and of their samples."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]

MODEL = "model.onnx"
SAMPLES = "x.npy"
OPSET, IR_VERSION = 17, 8


class Graph:
    """An ONNX graph with one input, `x`, under construction.

    Attributes:
        nodes: those appended so far.
        weights: the parameters so far, by name.
    """

    def __init__(
        self, name: str, shape: Sequence[int | str], element: int = TensorProto.FLOAT
    ) -> None:
        """Begin one whose weights are drawn by its name; `shape` is that of `x`."""
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}
        self._input = helper.make_tensor_value_info("x", element, list(shape))
        self._name = name
        self._rng = np.random.default_rng(zlib.crc32(name.encode()))

    def weight(self, name: str, *shape: int, std: float = 0.3, mean: float = 0.0) -> str:
        """Draw a float32 parameter from a normal distribution; returns its name."""
        drawn = self._rng.standard_normal(shape, dtype=np.float32)
        self.weights[name] = drawn * np.float32(std) + np.float32(mean)
        return name

    def fixed(self, name: str, values: Any, dtype: Any = np.int64) -> str:
        """Add a parameter of given values; returns its name."""
        self.weights[name] = np.asarray(values, dtype)
        return name

    def node(self, op: str, inputs: str, outputs: str, **attributes: Any) -> str:
        """Append a node, named as its first output; returns that output.

        Args:
            op: the operator.
            inputs: names separated by spaces; "-" stands for an input that is left out.
            outputs: likewise.
            attributes: the node's; `domain` is the operator's.
        """
        made = make_node(op, inputs, outputs, **attributes)
        self.nodes.append(made)
        return made.name

    def layer(self, op: str, data: str, output: str, *shape: int, **attributes: Any) -> str:
        """Append a layer with a weight of this shape and a bias for each output."""
        weight = self.weight(f"{output}.weight", *shape)
        outputs = shape[1] * attributes.get("group", 1) if op == "ConvTranspose" else shape[0]
        bias = self.weight(f"{output}.bias", outputs, std=0.1)
        if op == "Gemm":
            attributes["transB"] = 1
        return self.node(op, f"{data} {weight} {bias}", output, **attributes)

    def batch_norm(self, data: str, output: str, channels: int) -> str:
        """Append a BatchNormalization whose statistics are not those of a new one."""
        parts = [
            self.weight(f"{output}.weight", channels, std=0.2, mean=1),
            self.weight(f"{output}.bias", channels, std=0.2),
            self.weight(f"{output}.running_mean", channels),
            self.fixed(f"{output}.running_var", np.linspace(0.5, 2, channels), np.float32),
        ]
        return self.node("BatchNormalization", " ".join([data, *parts]), output)

    def save(self, folder: Path, output: str, dtype: Any = np.float32) -> None:
        """Write the model into a folder, its floating-point parameters as `dtype`."""
        weights = {
            name: value.astype(dtype) if value.dtype == np.float32 else value
            for name, value in self.weights.items()
        }
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        graph = helper.make_graph(
            self.nodes,
            self._name,
            [self._input],
            [helper.make_tensor_value_info(output, element, None)],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        domains = ["", *sorted({node.domain for node in self.nodes} - {""})]
        opsets = [helper.make_opsetid(domain, 1 if domain else OPSET) for domain in domains]
        onnx.save(
            helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), folder / MODEL
        )


def make_node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node named as its first output; see `Graph.node`."""
    read, made = ([name.strip("-") for name in side.split()] for side in (inputs, outputs))
    return helper.make_node(op, read, made, name=next(filter(None, made)), **attributes)


def make_body(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    inputs: Mapping[str, tuple[int, Sequence[int] | None]] | None = None,
) -> onnx.GraphProto:
    """A graph that a node runs; the inputs are element types and shapes by name."""
    given = [helper.make_tensor_value_info(n, *spec) for n, spec in (inputs or {}).items()]
    return helper.make_graph(
        list(nodes), "body", given, [onnx.ValueInfoProto(name=name) for name in outputs]
    )


def save_samples(folder: Path, *shape: int, dtype: Any = np.float32) -> None:
    """Write samples from a normal distribution; the first axis is the batch's."""
    rng = np.random.default_rng([len(shape), *shape])
    samples = rng.standard_normal(shape, dtype=np.float32) * np.float32(1.5) + np.float32(0.25)
    np.save(folder / SAMPLES, samples.astype(dtype))


def save_tokens(folder: Path, count: int, length: int, vocabulary: int) -> None:
    """Write sequences of token ids, int64, of shape (count, length)."""
    rng = np.random.default_rng([count, length])
    np.save(folder / SAMPLES, rng.integers(0, vocabulary, (count, length)))
