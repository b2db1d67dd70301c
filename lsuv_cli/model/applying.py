"""An ONNX file with other values for its parameters, and otherwise as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model, set_external_data

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.model.nodes import FLOAT_TYPES
from lsuv_cli.model.onnx_file import parse
from lsuv_cli.model.onnx_model import OnnxModel, read_model
from lsuv_cli.model.parameters import Parameters

# A serialised model may have 2 GB, and what is not weights takes some of that.
MAX_INLINE_BYTES = 1_500_000_000


def with_values(model: OnnxModel, content: bytes | None, weights: Parameters) -> onnx.ModelProto:
    """The file's model with the values that its parameters have now.

    Args:
        model: the file, in normal form.
        content: its bytes, where they are there already.
        weights: its parameters, with their new values.

    Returns:
        The model, all its tensors inside.

    Raises:
        ModelError: a new value has no place in the file, being that of a constant inside a local
            function or a body.
    """
    proto, _ = parse(model.path, content)
    load_external_data_for_model(proto, str(model.path.parent))
    graph = proto.graph
    placed: set[str] = set()
    for tensor in graph.initializer:
        if tensor.data_type in FLOAT_TYPES and tensor.name in model.parameters:
            _set(tensor, weights.stored(tensor.name, model.parameters[tensor.name].dtype))
            placed.add(tensor.name)
        elif tensor.data_type in FLOAT_TYPES and tensor.name in model.views:
            dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
            _set(tensor, weights[tensor.name].astype(dtype))
    # What is a constant, or the copy of another parameter, has a value of its own now.
    kept = []
    for node in graph.node:
        name = node.output[0] if node.output else ""
        if node.op_type in ("Constant", "Identity") and name in model.parameters.keys() - placed:
            value = weights.stored(name, model.parameters[name].dtype)
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
            placed.add(name)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    _refuse_homeless(model, content, weights, placed)
    return proto


def _set(tensor: TensorProto, value: FloatArray) -> None:
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))


def _refuse_homeless(
    model: OnnxModel, content: bytes | None, weights: Parameters, placed: set[str]
) -> None:
    """Refuse new values that the file has no place for."""
    homeless = sorted(model.parameters.keys() - placed)
    if not homeless:
        return
    old = read_model(model.path, content)[1]
    for name in homeless:
        dtype = model.parameters[name].dtype
        if not np.array_equal(old.stored(name, dtype), weights.stored(name, dtype)):
            raise ModelError(
                f"{model.path}: {name} is a constant inside a local function or shared by "
                "several modules, where a new value can't be put; export the model without "
                "functions, or load the weights in the framework"
            )


def save_model(proto: onnx.ModelProto, path: Path, *, external: bool) -> list[Path]:
    """Write a model into an empty folder.

    Args:
        proto: the model; modified where its tensors go to a file beside it.
        path: the model's file.
        external: whether they do, whatever their size.

    Returns:
        The files.
    """
    files = [path]
    if external or proto.ByteSize() > MAX_INLINE_BYTES:
        files.append(path.with_name(f"{path.name}.data"))
        _move_out(proto, files[1])
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return files


def refuse_invalid(path: Path, original: Path, content: bytes | None) -> None:
    """Refuse a written model with which ONNX' checker finds fault, and had not before.

    Args:
        path: the written model.
        original: the file that it was made from.
        content: that file's bytes, where they are there already.

    Raises:
        ModelError: it finds fault.
    """
    fault = _fault(str(path))
    if fault and not _fault(str(original) if content is None else content):
        raise ModelError(f"the model with the new weights is not valid: {fault}")


def _fault(model: str | bytes) -> str:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        return str(error).splitlines()[0]
    return ""


def _move_out(proto: onnx.ModelProto, data: Path) -> None:
    with data.open("wb") as file:
        for tensor in proto.graph.initializer:
            content = numpy_helper.to_array(tensor).tobytes()
            if not content:
                continue
            offset = file.tell()
            file.write(content)
            name, dims, kind = tensor.name, list(tensor.dims), tensor.data_type
            tensor.Clear()
            tensor.name, tensor.data_type = name, kind
            tensor.dims.extend(dims)
            tensor.raw_data = b""
            set_external_data(tensor, data.name, offset, len(content))
            tensor.ClearField("raw_data")
