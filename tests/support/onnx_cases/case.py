"""A small ONNX file with samples, and what the command makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]


@dataclass(frozen=True)
class OnnxCase:
    """A small ONNX file with samples, and what the command makes of it.

    Attributes:
        model: the file.
        samples: the arrays of its `.npz`.
        layers: the layers that are scaled, and the value that each makes.
        others: the statuses of the other layers.
        left_alone: texts that the report's `left_alone` has, each in one entry.
        fed: samples at a time where the file declares a number; 0 for all at once.
        axes: the batch axis of each input that has another than the first; None for one that is
            the same for all batches.
        said: texts that the command says.
        unsaid: texts that it does not say.
        given: what the file is fed beside them with every batch.
        options: of `InitOptions` and `SampleOptions`.
    """

    model: onnx.ModelProto
    samples: Mapping[str, Array]
    layers: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)
    left_alone: Sequence[str] = ()
    fed: int = 0
    axes: Mapping[str, int | None] = field(default_factory=dict)
    said: Sequence[str] = ()
    unsaid: Sequence[str] = ()
    given: Mapping[str, Array] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def batches(self) -> list[dict[str, Array]]:
        """Return what the file is fed, batch by batch; an incomplete batch is passed over."""
        axes = {name: self.axes.get(name, 0) for name in self.samples}
        counts = {self.samples[n].shape[axis] for n, axis in axes.items() if axis is not None}
        (count,) = counts
        size = self.fed or count
        return [
            {
                name: value if axes[name] is None else _part(value, axes[name] or 0, start, size)
                for name, value in self.samples.items()
            }
            | dict(self.given)
            for start in range(0, count - size + 1, size)
        ]


def _part(value: Array, axis: int, start: int, size: int) -> Array:
    return value.take(range(start, start + size), axis)


Make = Callable[[], OnnxCase]


def graph_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str | None]],
    output: str,
    weights: Mapping[str, Array] | None = None,
    *,
    opset: int = 15,
    producer: str = "",
    types: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """Return a model.

    Args:
        nodes: its nodes.
        inputs: the shape of each of its inputs.
        output: its output.
        weights: its initializers.
        opset: the version of its operators.
        producer: the program that wrote it.
        types: those of inputs that are not float32.
    """
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(name, (types or {}).get(name, TensorProto.FLOAT), shape)
            for name, shape in inputs.items()
        ],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name=producer)


def matrix_product(x: str, weight: str, output: str, name: str) -> onnx.NodeProto:
    """Return a MatMul."""
    return helper.make_node("MatMul", [x, weight], [output], name=name)


def normal(*shape: int, seed: int = 0, loc: float = 0.0) -> Array:
    """Return float32 samples of a normal distribution."""
    values = np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32) + loc
    return values.astype(np.float32)
