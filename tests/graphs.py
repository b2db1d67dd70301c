"""Small ONNX files for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

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
