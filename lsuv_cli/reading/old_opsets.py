"""ONNX files of opsets older than those that ONNX Runtime has all operators of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lsuv_cli.core.errors import ModelError
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, FLOAT_TYPES
from lsuv_cli.graph.onnx_library import convert_opset, run_reference
from lsuv_cli.runtime.run_model import run_model

# ONNX Runtime has all operators of this opset and later ones, and few of earlier ones.
OLDEST_OPSET = 7
SAMPLES = 2
OPEN_SIZE = 32  # where the file leaves a size open
TOLERANCE = 1e-4  # of the largest output


def with_runnable_opset(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return a model of an opset that can be run: itself, or converted by ONNX.

    What is converted has the file's own initializers and names, and is checked to compute the same
    on made-up samples.

    Args:
        model: the model; not modified.
        path: its file, for messages.

    Raises:
        ModelError: it can't be converted, or would compute something else.
    """
    opset = next((o.version for o in model.opset_import if o.domain in DEFAULT_DOMAINS), None)
    if opset is None or opset >= OLDEST_OPSET or not model.graph.node:
        return model
    try:
        converted = _converted(model)
        _check(model, converted)
    except ModelError as error:
        raise ModelError(
            f"{path} has opset {opset}; models of opset {OLDEST_OPSET} and later can be run, and "
            f"this one can't be converted: {error}; export it again with a later opset"
        ) from None
    return converted


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in the oldest opset that can be run.

    Raises:
        ModelError: ONNX can't convert it.
    """
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for value in sized.graph.input:  # the library does not convert what has open sizes
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if not dimension.dim_value:
                dimension.dim_value = OPEN_SIZE if axis else SAMPLES
    found = convert_opset(sized, OLDEST_OPSET)
    read = {name for node in found.graph.node for name in node.input}
    lost = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type in FLOAT_TYPES
        and tensor.name not in read
        and any(tensor.name in node.input for node in model.graph.node)
    ]
    if lost:
        raise ModelError(f"that would lose {lost[0]}")
    converted = onnx.ModelProto()
    converted.CopyFrom(model)
    del converted.graph.node[:], converted.graph.value_info[:], converted.opset_import[:]
    converted.graph.node.extend(found.graph.node)
    own = {tensor.name for tensor in model.graph.initializer}
    converted.graph.initializer.extend(t for t in found.graph.initializer if t.name not in own)
    converted.opset_import.extend(found.opset_import)
    return converted


def _check(model: onnx.ModelProto, converted: onnx.ModelProto) -> None:
    """Check that a converted model computes what the original one does.

    Raises:
        ModelError: it does not, or one of them can't be run.
    """
    feeds = _samples(model)
    found = run_model(converted.SerializeToString(), feeds)
    try:
        expected: Sequence[NDArray[Any]] = run_model(model.SerializeToString(), feeds)
    except ModelError:
        expected = run_reference(model, feeds)
    for one, other in zip(found, expected, strict=True):
        size = np.abs(np.nan_to_num(other.astype(np.float64))).max(initial=0.0)
        if one.shape != other.shape or not np.allclose(
            one, other, rtol=TOLERANCE, atol=TOLERANCE * size, equal_nan=True
        ):
            raise ModelError("the converted model does not compute the same")


def _samples(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Return made-up samples of a model's inputs, the same each time."""
    random = np.random.default_rng(0)
    stored = {tensor.name for tensor in model.graph.initializer}
    feeds: dict[str, NDArray[Any]] = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        if value.name in stored or kind.elem_type == TensorProto.UNDEFINED:
            continue
        shape = [
            dimension.dim_value or (OPEN_SIZE if axis else SAMPLES)
            for axis, dimension in enumerate(kind.shape.dim)
        ]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        is_float = kind.elem_type in FLOAT_TYPES
        values = random.standard_normal(shape) if is_float else np.zeros(shape)
        feeds[value.name] = values.astype(dtype)
    return feeds
