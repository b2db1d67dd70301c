"""A graph that is saved in half, bfloat16 or double precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from support.graphs import node, random_weight

Array = NDArray[Any]
W = random_weight
KINDS = {
    "float16": (TensorProto.FLOAT16, np.dtype(np.float16)),
    "bfloat16": (TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
    "float64": (TensorProto.DOUBLE, np.dtype(np.float64)),
}

CONNECTED = [
    node("MatMul", "x w1", "a"),
    node("Add", "a b1", "p"),
    node("Relu", "p", "r"),
    node("MatMul", "r w2", "m"),
    node("Concat", "m r", "k", axis=1),
    node("Mul", "k half", "h"),
    node("Gemm", "h w3 b3", "y", transB=1, beta=0.5),
]
CONNECTED_WEIGHTS = {"w1": W(8, 6), "b1": W(6), "w2": W(6, 6), "w3": W(5, 12), "b3": W(5)}


def save_in_precision(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, Array],
    shape: tuple[int | str, ...],
    kind: str,
) -> Path:
    """Save a graph in which everything is of one type."""
    element, dtype = KINDS[kind]
    half = numpy_helper.from_array(np.asarray(0.5, dtype))
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["half"], value=half), *nodes],
        "test",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", element, None)],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path
