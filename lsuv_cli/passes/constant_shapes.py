"""Shapes of values that a graph computes from parameters alone."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import helper, numpy_helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import values_read
from lsuv_cli.graph.onnx_library import infer_shapes
from lsuv_cli.passes.known_sizes import KnownSizes

Shapes = dict[str, tuple[int, ...]]


def shapes_of_constants(
    graph: EditableGraph, nodes: Sequence[onnx.NodeProto], values: Sequence[str]
) -> Shapes:
    """Return the shapes of the values that some nodes read and make, as far as they are known.

    Args:
        graph: the graph that the nodes belong to.
        nodes: in execution order; they read parameters and what they make.
        values: values that they make and that are needed.
    """
    model, known = _model(graph, nodes, values)
    inferred = infer_shapes(model, values=True)
    if inferred is None:
        return known
    for value in (*inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        sizes = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
        if tensor.HasField("shape") and None not in sizes:
            known[value.name] = tuple(size for size in sizes if size is not None)
    return known


def _model(
    graph: EditableGraph, nodes: Sequence[onnx.NodeProto], values: Sequence[str]
) -> tuple[onnx.ModelProto, Shapes]:
    """Return a model of the nodes, its integers known, and the shapes of its parameters."""
    read = {name for node in nodes for name in values_read(node)}
    views = {name: view for name in read if (view := graph.view(name)) is not None}
    shapes = {name: view.shape(graph.info(view).shape) for name, view in views.items()}
    sizes = KnownSizes(graph)
    integers = {name: sizes.integers(name) for name in sorted(read - views.keys())}
    tensors = [
        numpy_helper.from_array(value, name)
        for name, value in integers.items()
        if value is not None
    ]
    given = {tensor.name for tensor in tensors}
    others = [t for t in graph.model.graph.initializer if t.name in read and t.name not in given]
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(graph.info(view).dtype), shapes[name]
        )
        for name, view in views.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in values if name not in given]
    kept = [node for node in nodes if given.isdisjoint(node.output)]
    made = helper.make_graph(kept, "constants", inputs, outputs, [*tensors, *others])
    return helper.make_model(made, opset_imports=graph.model.opset_import), shapes
