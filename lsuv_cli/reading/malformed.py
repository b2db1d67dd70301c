"""Checks of an ONNX file before anything is made of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, helper

from lsuv_cli.core.errors import ModelError
from lsuv_cli.graph.nodes import bodies, node_name
from lsuv_cli.graph.onnx_library import NodeChecker

TENSOR_TYPES = frozenset(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}

# How several elements share a byte is left to who reads them.
PACKED_TYPES = frozenset(
    number
    for name, number in TensorProto.DataType.items()
    if re.match(r"(U?INT|FLOAT)[246](?!\d)", name)
)
EQUATION = re.compile(r"[A-Za-z. ]*(,[A-Za-z. ]*)*(->[A-Za-z. ]*)?")
COMPLEX_TYPES = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
ATTRIBUTE_TYPES = frozenset(AttributeProto.AttributeType.values()) - {AttributeProto.UNDEFINED}


def refuse_malformed(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a model whose names, types, sizes or functions are not what ONNX allows.

    Args:
        model: the model as it was parsed.
        path: its file, for messages.

    Raises:
        ModelError: it is malformed.
    """
    fault = next(_faults(model), "")
    if fault:
        raise ModelError(f"{path} is damaged, or no valid ONNX model: {fault}; export it again")


def refuse_invalid_nodes(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a node that lacks an input, or has an attribute that its operator does not have.

    Args:
        model: the model without local functions.
        path: its file, for messages.

    Raises:
        ModelError: there is one.
    """
    checker = NodeChecker(model)
    for node in _nodes(model.graph):
        # A Constant node's tensor has been checked; here it would be copied.
        if node.op_type == "Constant" or bodies(node):
            continue
        fault = _equation_fault(node) or checker.fault(node)
        if fault:
            raise ModelError(
                f"the node {node_name(node)} ({node.op_type}) in {path} is not valid: {fault}; "
                "export the model again"
            )


def _faults(model: onnx.ModelProto) -> Iterator[str]:
    for entry in model.opset_import:
        yield from _text_faults("an operator set", [entry.domain])
    yield from _graph_faults(model.graph)
    for function in model.functions:
        words = [function.name, function.domain, *function.input, *function.output]
        yield from _text_faults("a function", [*words, *function.attribute])
        for node in function.node:
            yield from _node_faults(node)


def _graph_faults(graph: onnx.GraphProto) -> Iterator[str]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield from _value_faults(value)
    for tensor in graph.initializer:
        yield from _tensor_faults(tensor)
    for sparse in graph.sparse_initializer:
        yield from _sparse_faults(sparse)
    for node in graph.node:
        yield from _node_faults(node)


def _node_faults(node: onnx.NodeProto) -> Iterator[str]:
    words = [node.name, node.op_type, node.domain, *node.input, *node.output]
    yield from _text_faults("a node", [*words, *(one.name for one in node.attribute)])
    for one in node.attribute:
        if one.type not in ATTRIBUTE_TYPES and not one.ref_attr_name:
            yield f"the attribute {one.name} of the node {node_name(node)} has no type"
        for tensor in (*([one.t] if one.HasField("t") else ()), *one.tensors):
            yield from _tensor_faults(tensor)
        if one.HasField("sparse_tensor"):
            yield from _sparse_faults(one.sparse_tensor)
    for body in bodies(node):
        yield from _graph_faults(body)


def _value_faults(value: onnx.ValueInfoProto) -> Iterator[str]:
    kind = value.type.tensor_type
    names = [dim.dim_param for dim in kind.shape.dim if dim.HasField("dim_param")]
    yield from _text_faults("a value", [value.name, *names])
    if kind.elem_type and kind.elem_type not in TENSOR_TYPES:
        yield f"the value {value.name} has the type {kind.elem_type}, which ONNX does not have"


def _sparse_faults(sparse: onnx.SparseTensorProto) -> Iterator[str]:
    yield from _tensor_faults(sparse.values)
    yield from _tensor_faults(sparse.indices)


def _tensor_faults(tensor: TensorProto) -> Iterator[str]:
    yield from _text_faults("a tensor", [tensor.name])
    if tensor.data_type not in TENSOR_TYPES:
        yield f"the tensor {tensor.name} has the type {tensor.data_type}, which ONNX does not have"
    elif any(size < 0 for size in tensor.dims):
        yield f"the tensor {tensor.name} has a negative size: {list(tensor.dims)}"
    elif tensor.data_location == TensorProto.EXTERNAL:
        places = [entry.value for entry in tensor.external_data if entry.key == "location"]
        if len(places) != 1 or not isinstance(places[0], str) or "\0" in places[0]:
            yield f"the tensor {tensor.name} lies in another file, but it does not say in which"
    else:
        yield from _size_faults(tensor)


def _size_faults(tensor: TensorProto) -> Iterator[str]:
    """Yield a fault if a tensor has not as many elements as its shape says."""
    wanted, unit = math.prod(tensor.dims), "elements"
    if tensor.data_type in PACKED_TYPES:
        return
    if tensor.HasField("raw_data"):
        found, unit = len(tensor.raw_data), "bytes"
        wanted *= helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    else:
        found = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
        wanted *= 2 if tensor.data_type in COMPLEX_TYPES else 1
    if tensor.data_type == TensorProto.STRING and unit == "bytes":
        yield f"the tensor {tensor.name} holds texts as raw bytes"
    elif found != wanted:
        yield (
            f"the tensor {tensor.name} has {found} {unit}, which does not fit its shape "
            f"{list(tensor.dims)}"
        )


def _equation_fault(node: onnx.NodeProto) -> str:
    """Return what is wrong with an Einsum's equation, over which ONNX's shape inference hangs."""
    for one in node.attribute:
        if node.op_type == "Einsum" and one.name == "equation":
            equation = one.s.decode("latin-1")
            if EQUATION.fullmatch(equation) is None:
                return f"{equation!r} is no equation"
    return ""


def _text_faults(owner: str, words: Iterable[Any]) -> Iterator[str]:
    """Yield a fault if a name is not UTF-8, which protobuf then gives as bytes."""
    for word in words:
        if not isinstance(word, str):
            yield f"{owner} has a name or type that is not UTF-8: {word!r:.60}"


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for body in bodies(node):
            yield from _nodes(body)
