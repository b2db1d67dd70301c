"""Small ONNX files for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from lsuv_cli.model.onnx_model import read_model

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


def outputs_of(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """A model's outputs, by ONNX Runtime alone."""
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, dict(feeds))]


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
