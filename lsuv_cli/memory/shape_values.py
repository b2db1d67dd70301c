"""The small values that a graph computes its shapes with.

ONNX's own propagation of them misses slices with computed ends, which PyTorch writes into every
attention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes

# Nothing larger tells a shape.
MAX_ELEMENTS = 64

Value = NDArray[Any]
Shape = tuple[int, ...]


class ShapeValues:
    """Computes small values node by node, in execution order."""

    def __init__(self, constants: Iterable[onnx.TensorProto]) -> None:
        self.found: dict[str, Value] = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in constants
            if np.prod(tensor.dims) <= MAX_ELEMENTS and not tensor.external_data
        }

    def follow(self, node: onnx.NodeProto, shape: Shape | None) -> None:
        """Compute a node's first output where everything it takes is known.

        Args:
            node: the node.
            shape: the shape of its first input, where it is known.
        """
        if node.domain not in DEFAULT_DOMAINS or len(node.output) != 1:
            return
        if node.op_type == "Shape" and shape is not None:
            found = attributes(node)
            value = np.array(shape[found.get("start", 0) : found.get("end")], np.int64)
        elif node.op_type in _OPERATORS:
            inputs = [self.found.get(name) for name in node.input]
            if any(value is None and name for value, name in zip(inputs, node.input, strict=True)):
                return
            try:
                value = np.asarray(_OPERATORS[node.op_type](node, inputs))
            except (ArithmeticError, IndexError, TypeError, ValueError):
                return  # the graph is broken, or wants what is not done here
        else:
            return
        if value.size <= MAX_ELEMENTS:
            self.found[node.output[0]] = value

    def tensors(self, names: Iterable[str]) -> dict[str, onnx.TensorProto]:
        """Those of some values that are known."""
        return {
            name: numpy_helper.from_array(self.found[name], name)
            for name in names
            if name in self.found
        }


Inputs = Sequence[Any]


def _axes(node: onnx.NodeProto, inputs: Inputs) -> tuple[int, ...]:
    """The axes of an operator that takes them as an attribute or as its second input."""
    if len(inputs) > 1 and inputs[1] is not None:
        return tuple(int(axis) for axis in inputs[1].ravel())
    return tuple(attributes(node).get("axes", ()))


def _constant(node: onnx.NodeProto, _inputs: Inputs) -> Value:
    found = attributes(node)
    if "value" in found:
        return np.asarray(numpy_helper.to_array(found["value"]))
    if "sparse_value" in found:
        raise ValueError("no shape is computed with it")
    (value,) = found.values()
    return np.asarray(value)


def _slice(node: onnx.NodeProto, inputs: Inputs) -> Value:
    data = inputs[0]
    if len(inputs) == 1:
        found = attributes(node)
        starts, ends = found["starts"], found["ends"]
        axes, steps = found.get("axes", range(len(starts))), [1] * len(starts)
    else:
        starts, ends = inputs[1], inputs[2]
        axes = inputs[3] if len(inputs) > 3 and inputs[3] is not None else range(len(starts))
        steps = inputs[4] if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    places = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # An end before the first element can't be written as a number in Python.
        stop = None if step < 0 and end < -data.shape[axis] else int(end)
        places[axis] = slice(int(start), stop, int(step))
    return np.asarray(data[tuple(places)])


def _reshape(_node: onnx.NodeProto, inputs: Inputs) -> Value:
    data, wanted = inputs
    return np.reshape(data, [data.shape[i] if s == 0 else int(s) for i, s in enumerate(wanted)])


def _divide(_node: onnx.NodeProto, inputs: Inputs) -> Value:
    left, right = inputs
    if np.issubdtype(left.dtype, np.integer):
        return np.asarray(np.trunc(left / right).astype(left.dtype))
    return np.asarray(left / right)


def _cast(node: onnx.NodeProto, inputs: Inputs) -> Value:
    return np.asarray(inputs[0].astype(helper.tensor_dtype_to_np_dtype(attributes(node)["to"])))


def _concat(node: onnx.NodeProto, inputs: Inputs) -> Value:
    return np.asarray(np.concatenate(inputs, attributes(node)["axis"]))


def _gather(node: onnx.NodeProto, inputs: Inputs) -> Value:
    return np.asarray(np.take(inputs[0], inputs[1], attributes(node).get("axis", 0)))


def _of(function: Callable[..., Any]) -> Callable[[onnx.NodeProto, Inputs], Value]:
    return lambda _node, inputs: np.asarray(function(*inputs))


_OPERATORS: dict[str, Callable[[onnx.NodeProto, Inputs], Value]] = {
    "Add": _of(np.add),
    "Cast": _cast,
    "Ceil": _of(np.ceil),
    "Concat": _concat,
    "Constant": _constant,
    "Div": _divide,
    "Equal": _of(np.equal),
    "Floor": _of(np.floor),
    "Gather": _gather,
    "Identity": _of(np.asarray),
    "Max": _of(np.maximum),
    "Min": _of(np.minimum),
    "Mod": _of(np.mod),
    "Mul": _of(np.multiply),
    "Neg": _of(np.negative),
    "Range": _of(np.arange),
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": lambda node, inputs: np.squeeze(inputs[0], _axes(node, inputs) or None),
    "Sub": _of(np.subtract),
    "Unsqueeze": lambda node, inputs: np.expand_dims(inputs[0], _axes(node, inputs)),
    "Where": _of(np.where),
}
