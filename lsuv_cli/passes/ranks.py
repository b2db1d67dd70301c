"""Ranks of a graph's values, as far as ONNX infers them."""

from __future__ import annotations

import onnx
from onnx import helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.onnx_library import infer_shapes


class Ranks:
    """The number of axes of each value; inferred when the first is asked for.

    Values that a pass makes afterwards are unknown.
    """

    def __init__(self, graph: EditableGraph) -> None:
        self._graph = graph
        self._known: dict[str, int] | None = None

    def of(self, value: str) -> int | None:
        """Return the rank of a value; None where it is unknown."""
        shape = self._graph.shape(value)
        if shape is not None:
            return len(shape)
        if self._known is None:
            self._known = _inferred(self._graph)
        return self._known.get(value)


def _inferred(graph: EditableGraph) -> dict[str, int]:
    """Return the ranks that ONNX infers from the inputs and parameters, and what the file tells."""
    given = graph.model.graph
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.model)
    del proto.graph.node[:], proto.functions[:]
    proto.graph.node.extend(graph.nodes)
    held = {value.name for value in given.input} | {tensor.name for tensor in given.initializer}
    for name in (*graph.parameters, *graph.views):
        view, shape = graph.view(name), graph.shape(name)
        if name not in held and view is not None and shape is not None:
            kind = helper.np_dtype_to_tensor_dtype(graph.info(view).dtype)
            proto.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    inferred = infer_shapes(proto, values=True) or given
    values: list[onnx.ValueInfoProto] = [*given.value_info, *inferred.value_info]
    values += [*inferred.output, *inferred.input]
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in values
        if value.type.tensor_type.HasField("shape")
    }
