"""The sizes of a graph's values, as far as ONNX infers them without a size of the samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.onnx_library import infer_shapes

# A size is None where it is not known.
Sizes = tuple[int | None, ...]


def inferred_sizes(graph: EditableGraph, hints: Mapping[str, Sizes]) -> Mapping[str, Sizes]:
    """Return the sizes of the axes of each value whose rank is known.

    The first axis of an input counts as unknown even where the file gives it a number: the graph is
    run on batches of any size. Nothing is known where ONNX can't infer shapes at all.

    Args:
        graph: the graph as it is now; not modified.
        hints: the sizes of values that are known otherwise, by name.
    """
    source = graph.model
    model = onnx.ModelProto(ir_version=source.ir_version, opset_import=source.opset_import)
    model.graph.name = source.graph.name
    model.graph.initializer.extend(source.graph.initializer)
    model.graph.node.extend(graph.nodes)
    model.graph.input.extend(_inputs(source.graph, graph))
    for name in (*graph.parameters, *graph.views):
        view = graph.view(name)
        if view is not None:
            info = graph.info(view)
            kind = helper.np_dtype_to_tensor_dtype(info.dtype)
            model.graph.input.append(
                helper.make_tensor_value_info(name, kind, view.shape(info.shape))
            )
    for name, sizes in hints.items():
        kind = onnx.TensorProto.UNDEFINED
        model.graph.value_info.append(helper.make_tensor_value_info(name, kind, sizes))
    inferred = infer_shapes(model, values=True)
    if inferred is None:
        return {}
    return {
        value.name: _sizes(value)
        for value in (*inferred.input, *inferred.value_info)
        if value.type.tensor_type.HasField("shape")
    }


def _inputs(source: onnx.GraphProto, graph: EditableGraph) -> Iterable[onnx.ValueInfoProto]:
    """Yield the inputs that are no weights, with an open first axis unless they have a value."""
    held = {tensor.name for tensor in source.initializer}
    for value in source.input:
        if graph.is_weight(value.name):
            continue
        opened = onnx.ValueInfoProto()
        opened.CopyFrom(value)
        if value.name not in held:
            for first in opened.type.tensor_type.shape.dim[:1]:
                first.Clear()
        yield opened


def _sizes(value: onnx.ValueInfoProto) -> Sizes:
    return tuple(
        size.dim_value if size.HasField("dim_value") else None
        for size in value.type.tensor_type.shape.dim
    )
