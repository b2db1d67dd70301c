"""Floating-point types: those that a graph is computed in, in place of those it is stored in.

Moments of float16 activations would have errors of 1e-3 and overflow at 65504. So float16 and
bfloat16 are computed in float32, and only the written weights are rounded. float64 stays, unless
the graph has convolutions or recurrent operators: ONNX Runtime has none in float64 on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import bodies
from lsuv_cli.graph.operators.table import names_of
from lsuv_cli.passes.pipeline import Pass

# Attributes that name an element type: of Cast, and of nodes that make new tensors.
TYPE_ATTRIBUTES = frozenset(("to", "dtype", "stash_type"))

Types = Mapping[int, int]


def computing_types(nodes: Iterable[onnx.NodeProto]) -> dict[int, int]:
    """Return what each floating-point type is computed in, for a graph of these nodes."""
    float32_only = names_of(lambda operator: operator.float32_only)
    in_float32 = any(node.op_type in float32_only for node in nodes)
    return {
        TensorProto.FLOAT: TensorProto.FLOAT,
        TensorProto.FLOAT16: TensorProto.FLOAT,
        TensorProto.BFLOAT16: TensorProto.FLOAT,
        TensorProto.DOUBLE: TensorProto.FLOAT if in_float32 else TensorProto.DOUBLE,
    }


def computing_dtype(dtype: np.dtype[np.generic], types: Types) -> np.dtype[np.floating]:
    """Return the numpy dtype that values stored as `dtype` are computed with."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(types[helper.np_dtype_to_tensor_dtype(dtype)]))


def change_types(graph: EditableGraph) -> None:
    """Decide what each floating-point type is computed in, and change the graph's types to that."""
    graph.types |= computing_types(graph.nodes)
    _change_values(graph.model.graph, graph.types)
    _change_nodes(graph.nodes, graph.types)


def _change_values(graph: onnx.GraphProto, types: Types) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if not value.type.HasField("tensor_type"):
            continue  # a body may leave the types of its values open
        tensor_type = value.type.tensor_type
        tensor_type.elem_type = types.get(tensor_type.elem_type, tensor_type.elem_type)
    for tensor in graph.initializer:
        _change_tensor(tensor, types)


def _change_nodes(nodes: Iterable[onnx.NodeProto], types: Types) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in TYPE_ATTRIBUTES:
                attribute.i = types.get(attribute.i, attribute.i)
            if attribute.HasField("t"):
                _change_tensor(attribute.t, types)
            if attribute.HasField("sparse_tensor"):
                _change_tensor(attribute.sparse_tensor.values, types)
        for body in bodies(node):
            _change_values(body, types)
            _change_nodes(body.node, types)


def _change_tensor(tensor: TensorProto, types: Types) -> None:
    wanted = types.get(tensor.data_type, tensor.data_type)
    if wanted != tensor.data_type:
        values = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(wanted))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


PASS = Pass(
    "computing_types",
    change_types,
    requires=(
        *("fused_products", "fused_attention", "einsum", "recurrent", "gemm_addends"),
        "chosen_matrices",
    ),
)
