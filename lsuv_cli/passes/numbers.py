"""Values of a graph that are one number, or zero everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import attributes

# Larger constants are not looked at.
MAX_BYTES = 1 << 16


def numbers_read(graph: EditableGraph, nodes: Sequence[onnx.NodeProto]) -> dict[str, float]:
    """Return the constants that some nodes read and that are one number, or zero everywhere."""
    numbers: dict[str, float] = {}
    for name in {name for node in nodes for name in node.input if name}:
        value = _constant(name, graph)
        if (
            value is not None
            and value.size
            and value.dtype.kind == "f"
            and np.all(value == value.flat[0])
            and (value.size == 1 or value.flat[0] == 0)
        ):
            numbers[name] = float(value.flat[0])
    return numbers


def _constant(name: str, graph: EditableGraph) -> FloatArray | None:
    """Return the value of a constant that training does not change; None for any other."""
    view, node = graph.view(name), graph.producer(name)
    if view is not None:
        constant = view.parameter in graph.constants or view.parameter in graph.fixed
        if not constant or graph.info(view).nbytes > MAX_BYTES:
            return None
        return view.of(graph.parameters[view.parameter].read())
    if node is None or node.op_type not in ("Constant", "ConstantOfShape"):
        return None
    found = next(iter(attributes(node).values()), 0.0)
    if isinstance(found, onnx.TensorProto):
        found = numpy_helper.to_array(found)
    value: FloatArray = np.asarray(found)
    return value
