"""How many bytes each value of a graph takes, as a function of the batch's size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.nodes import bodies
from lsuv_cli.memory.shapes import Shape, Tensor, shapes_for

# Two tell how each dimension grows. Neither is 1: that would be broadcast or squeezed away.
BATCHES = (2, 3)

RANDOM = frozenset(("Multinomial", "RandomNormal", "RandomUniform"))


@dataclass(frozen=True, slots=True)
class Size:
    """The bytes of a value for n samples: `fixed + per_sample * n + per_pair * n * n`.

    Attributes:
        fixed: bytes whatever the batch.
        per_sample: bytes that each sample adds.
        per_pair: bytes for each pair of samples.
        shape: the shape for a batch of `BATCHES[0]`.
        dtype: the element type as ONNX counts them.
    """

    fixed: float
    per_sample: float
    per_pair: float = 0.0
    shape: Shape = ()
    dtype: int = TensorProto.UNDEFINED

    def bytes(self, samples: int) -> int:
        """The bytes for a batch of some samples."""
        size = self.fixed + self.per_sample * samples + self.per_pair * samples**2
        return max(0, math.ceil(size))

    def times(self, factor: float) -> Size:
        """A size some times as large, of no particular shape."""
        return Size(self.fixed * factor, self.per_sample * factor, self.per_pair * factor)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a graph's values.

    Attributes:
        values: the size of each value that is fed or made.
        weights: shape and dtype of each initializer, and of what depends on these alone.
        guessed: the values whose size is a guess or follows from one.
    """

    values: Mapping[str, Size]
    weights: Mapping[str, TensorInfo]
    guessed: frozenset[str]

    def bytes(self, name: str, samples: int) -> int:
        """The bytes of a value for a batch of some samples.

        Raises:
            KeyError: no such value is fed or made.
        """
        return self.values[name].bytes(samples)


def value_sizes(
    model: onnx.ModelProto,
    shapes: Mapping[str, Shape],
    weights: Mapping[str, TensorInfo],
    values: Mapping[str, FloatArray],
) -> Sizes:
    """Find the size of every value of a graph's main part, from shapes alone.

    Args:
        model: a skeleton, or an instrumented graph; not modified. Its batch axis may be fixed.
        shapes: for each input the shape of one sample, without the batch axis.
        weights: shape and dtype of initializers that the graph does not hold itself.
        values: their values; only those few are read that shapes depend on, as Resize's scales.

    Returns:
        The sizes. Where ONNX can't tell a shape: that of the largest value the node reads.
    """
    found = [shapes_for(batch, model, shapes, weights, values) for batch in BATCHES]
    first, second = (table for table, _ in found)
    guessed = set().union(*(guesses for _, guesses in found))
    constants = _constants(model.graph, weights)
    sizes: dict[str, Size] = {}
    for name, tensor in first.items():
        if name not in constants:
            shapes_found = [table[name].known_shape or () for table in (first, second)]
            coefficients, is_exact = _fit(shapes_found, _item_bytes(tensor))
            sizes[name] = Size(*coefficients, shapes_found[0], tensor.dtype)
            if not is_exact:
                guessed.add(name)
    known = {
        name: TensorInfo(first[name].known_shape or (), _numpy_dtype(first[name]))
        for name in constants & first.keys()
    }
    return Sizes(sizes, known | dict(weights), frozenset(guessed))


def _constants(graph: onnx.GraphProto, weights: Iterable[str]) -> set[str]:
    """The values that depend on initializers alone, which ONNX Runtime computes beforehand."""
    constant = {tensor.name for tensor in graph.initializer}.union(weights)
    for node in graph.node:
        is_function = node.op_type not in RANDOM and not bodies(node)
        if is_function and constant.issuperset(filter(None, node.input)):
            constant.update(filter(None, node.output))
    return constant


def _numpy_dtype(tensor: Tensor) -> np.dtype[Any]:
    return helper.tensor_dtype_to_np_dtype(tensor.dtype or TensorProto.DOUBLE)


def _item_bytes(tensor: Tensor) -> int:
    return int(_numpy_dtype(tensor).itemsize)


def _fit(shapes: Sequence[Shape], item_bytes: int) -> tuple[tuple[float, float, float], bool]:
    """The coefficients of 1, n and n^2 of a value's bytes.

    Args:
        shapes: for each of `BATCHES`.
        item_bytes: of one element.

    Returns:
        The coefficients, and whether each dimension is a line in n and no more than two grow. Else
        they are an upper bound for all but the smallest batches.
    """
    first, second = shapes
    low, high = BATCHES
    if len(first) != len(second):
        return (item_bytes * max(map(math.prod, shapes)), 0.0, 0.0), False
    coefficients = [float(item_bytes)]
    for a, b in zip(first, second, strict=True):
        growth = (b - a) / (high - low)
        start = a - growth * low
        if start < 0 or growth < 0:
            return (0.0, 0.0, item_bytes * max(map(math.prod, shapes)) / low**2), False
        longer = [*coefficients, 0.0] if growth else coefficients
        coefficients = [
            start * (coefficients[power] if power < len(coefficients) else 0.0)
            + growth * (coefficients[power - 1] if power else 0.0)
            for power in range(len(longer))
        ]
    if len(coefficients) > 3:
        return (0.0, 0.0, item_bytes * math.prod(second) / low**2), False
    fixed, linear, square = [*coefficients, 0.0, 0.0][:3]
    return (fixed, linear, square), True
