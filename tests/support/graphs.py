"""Nodes, weights and small ONNX files that tests build their graphs from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.reading.onnx_file import read_model

Array = NDArray[Any]


def save_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Array],
    input_shape: Sequence[int | str],
    *,
    opset: int = 17,
    output: str | None = None,
    input_type: int = TensorProto.FLOAT,
    name: str = "x",
) -> Path:
    """Save a graph with one input and one output; the last node's output, unless named."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, input_type, list(input_shape))],
        [helper.make_tensor_value_info(output or nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def random_weight(*shape: int, seed: int = 0) -> Array:
    """A float32 array from a standard normal distribution."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def in_normal_form(path: Path) -> onnx.ModelProto:
    """The graph that a file is brought to before it is measured, with the file's own values."""
    model, parameters = read_model(path)
    whole = onnx.ModelProto()
    whole.CopyFrom(model.skeleton)
    used = {name for node in model.nodes for name in node.input}
    whole.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(parameters[name]), name)
        for name in parameters
        if name in used
    )
    return whole


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """Return a node with one output; the names of its inputs are separated by spaces."""
    return helper.make_node(op, inputs.split(), [output], name=f"{op}_{output}", **attributes)


def i64(*values: int) -> Array:
    """Return an int64 vector, as shapes and axes are given."""
    return np.array(values, np.int64)


def body(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int] | None]],
    outputs: list[str],
    weights: dict[str, Array] | None = None,
) -> onnx.GraphProto:
    """Return the body of a Loop, Scan or If.

    Args:
        nodes: its nodes.
        inputs: the element type and the shape of each of its inputs.
        outputs: the names of its outputs.
        weights: its initializers.
    """
    return helper.make_graph(
        nodes,
        "body",
        [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )


def constant(name: str, value: Any) -> onnx.NodeProto:
    """Return a Constant node."""
    array = numpy_helper.from_array(np.asarray(value))
    return helper.make_node("Constant", [], [name], value=array)
