"""Values and optimised files from ONNX Runtime alone, to compare lsuv with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]


def forward(path: Path, weights: dict[str, Array], feeds: dict[str, Array], value: str) -> Array:
    """Return one value of a file's graph with other weights, by name."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    model.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run([value], feeds)
    return np.asarray(found)


def optimised(path: Path, folder: Path) -> Path:
    """Save the file as ONNX Runtime optimises it, with its own fused operators."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "fused.onnx")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return folder / "fused.onnx"


def outputs_of(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """Return a model's outputs."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [np.asarray(value) for value in session.run(None, dict(feeds))]
