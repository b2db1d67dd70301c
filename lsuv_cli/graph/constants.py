"""Constants of a graph: Constant nodes, made and read, and integer initializers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, FLOAT_TYPES

INTEGER_TYPES = (TensorProto.INT64, TensorProto.INT32)


def constant_node(output: str, value: NDArray[Any]) -> onnx.NodeProto:
    """Return a Constant node.

    Args:
        output: the name of the value it makes.
        value: that value, of any shape and dtype.
    """
    return helper.make_node("Constant", [], [output], value=numpy_helper.from_array(value))


def float_array_of(node: onnx.NodeProto) -> FloatArray | None:
    """Return the value of a Constant node if it is floating-point and has axes, else None."""
    if not _is_constant(node):
        return None
    for attribute in node.attribute:
        tensor = attribute.t
        if attribute.name == "value_floats":
            return np.array(attribute.floats, np.float32)
        if attribute.name == "value" and tensor.data_type in FLOAT_TYPES and tensor.dims:
            array: FloatArray = numpy_helper.to_array(tensor)
            return array
    return None


def integers_of(node: onnx.NodeProto) -> NDArray[Any] | None:
    """Return the value of a Constant node if it is int32 or int64, else None."""
    if not _is_constant(node):
        return None
    for attribute in node.attribute:
        if attribute.name == "value":
            return integer_tensor(attribute.t)
        if attribute.name in ("value_int", "value_ints"):
            return np.asarray(helper.get_attribute_value(attribute), np.int64)
    return None


def integer_tensor(tensor: TensorProto) -> NDArray[Any] | None:
    """Return the value of a tensor if it is int32 or int64, else None."""
    return numpy_helper.to_array(tensor) if tensor.data_type in INTEGER_TYPES else None


def integer_constants(
    nodes: Iterable[onnx.NodeProto], initializers: Iterable[TensorProto]
) -> dict[str, NDArray[Any]]:
    """Return the values of all integer initializers and Constant nodes of a graph, by name."""
    found = {tensor.name: integer_tensor(tensor) for tensor in initializers}
    found |= {node.output[0]: integers_of(node) for node in nodes if _is_constant(node)}
    return {name: value for name, value in found.items() if value is not None}


def _is_constant(node: onnx.NodeProto) -> bool:
    return node.op_type == "Constant" and node.domain in DEFAULT_DOMAINS
