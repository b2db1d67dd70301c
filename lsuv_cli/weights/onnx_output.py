"""Write an ONNX file with other values of its parameters, and otherwise unchanged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.onnx_library import fault_of
from lsuv_cli.graph.parameters import Parameters, ParameterSource, ParameterSources
from lsuv_cli.passes.hoist import hoist_constants
from lsuv_cli.passes.normal_form import separate_shared
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.reading.onnx_file import parse, source_of

# A serialised model may have 2 GB, and what is not weights takes some of that.
MAX_INLINE_BYTES = 1_500_000_000

# Smaller tensors stay in the model, as with other tools; larger ones begin at a page, so that they
# can be mapped into memory.
MIN_EXTERNAL_BYTES = 1024
PAGE_BYTES = 4096

# Before this version, an initializer had to be an input as well.
FREE_INITIALIZERS_IR = 4


def model_files(model: OnnxModel, out: Path) -> list[Path]:
    """Return the files that a model is written to; the second is external data, if it needs any.

    Args:
        model: the model.
        out: the model's file.
    """
    sizes = [one.nbytes for name, one in model.parameters.items() if name not in model.constants]
    is_large = sum(sizes) + model.skeleton.ByteSize() > MAX_INLINE_BYTES
    if (model.external_files or is_large) and max(sizes, default=0) >= MIN_EXTERNAL_BYTES:
        return [out, out.with_name(f"{out.name}.data")]
    return [out]


def with_values(
    model: OnnxModel, content: bytes | None, weights: Parameters
) -> tuple[onnx.ModelProto, ParameterSources]:
    """Return the file's model with the present values of its parameters.

    Each parameter is stored on its own: local functions are inlined, the constants of bodies with
    layers move to the main graph, and parameters that an exporter stored once because they were
    equal are stored separately.

    Args:
        model: the file, in normal form.
        content: its bytes, if they have been read already.
        weights: its parameters, with their new values.

    Returns:
        The model, whose floating-point initializers have no value yet, and the sources of these.

    Raises:
        ModelError: the file has no place for a new value.
    """
    file, sha256 = parse(model.path, content)
    source = hoist_constants(source_of(file, sha256, model.path))
    proto = onnx.ModelProto()
    proto.CopyFrom(source.skeleton)
    proto.ir_version = max(proto.ir_version, FREE_INITIALIZERS_IR)
    graph = proto.graph
    graph.value_info.extend(file.graph.value_info)
    separated = EditableGraph(proto, source.parameters, source.path, source.opset, source.signature)
    separated.keeps_ties = model.keeps_ties
    separate_shared(separated)
    separated.write_nodes()
    infos = {name: one.info for name, one in separated.parameters.items()}
    # With the bodies unrolled, fewer may be told apart.
    known = {
        name: name if name in model.weight_values else separated.copies[name] for name in infos
    }
    values = {
        name: ParameterSource(info, partial(_value, model, weights, known[name], info))
        for name, info in infos.items()
    }
    _refuse_homeless(model, weights, values.keys() | _fill_constants(graph, model, weights))
    for name, info in infos.items():
        kind = helper.np_dtype_to_tensor_dtype(info.dtype)
        graph.initializer.append(TensorProto(name=name, dims=info.shape, data_type=kind))
    return proto, values


def _fill_constants(graph: onnx.GraphProto, model: OnnxModel, weights: Parameters) -> set[str]:
    """Set the values of Constant nodes that are parameters; return their names."""
    filled = set()
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] in model.constants:
            name, tensor = node.output[0], node.attribute[0].t
            value = _value(model, weights, name, model.parameters[name])
            changed = numpy_helper.from_array(value, tensor.name)
            node.attribute[0].CopyFrom(helper.make_attribute("value", changed))
            filled.add(name)
    return filled


def _value(model: OnnxModel, weights: Parameters, name: str, info: TensorInfo) -> NDArray[Any]:
    """Return the value of a parameter or, if the file stores a tied one twice, of a view of it."""
    view = model.view(name)
    value = view.of(weights.stored(view.parameter, info.dtype))
    return np.require(value, requirements="C")


def _refuse_homeless(model: OnnxModel, weights: Parameters, placed: Collection[str]) -> None:
    """Refuse new values for which the file has no place."""
    for name in sorted(model.parameters.keys() - placed):
        info, original = model.parameters[name], model.copies.get(name, name)
        value, shared = (_value(model, weights, one, info) for one in (name, original))
        if original == name or not np.array_equal(value, shared):
            raise ModelError(
                f"{model.path}: the file has no place of its own for {name}, which shares it with "
                "another parameter; load the weights in the framework, and export it anew"
            )


def save_model(
    proto: onnx.ModelProto, values: Mapping[str, ParameterSource], files: list[Path]
) -> None:
    """Write a model, reading one tensor at a time.

    Args:
        proto: the model; modified.
        values: the sources of the initializers that have no value yet.
        files: the model's file and, if it has any, that of its external data.

    Raises:
        OSError: the files can't be written.
    """
    path, *data = files
    outside = [t for t in proto.graph.initializer if data and _goes_outside(t, values)]
    for file in data:
        _write_outside(outside, values, file)
    for tensor in proto.graph.initializer:
        if tensor.name in values and tensor.data_location != TensorProto.EXTERNAL:
            tensor.raw_data = values[tensor.name].read().tobytes()
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _goes_outside(tensor: TensorProto, values: Mapping[str, ParameterSource]) -> bool:
    if tensor.name in values:
        return values[tensor.name].info.nbytes >= MIN_EXTERNAL_BYTES
    return len(tensor.raw_data) >= MIN_EXTERNAL_BYTES


def _write_outside(
    tensors: list[TensorProto], values: Mapping[str, ParameterSource], data: Path
) -> None:
    offset = 0
    with data.open("wb") as file:
        for tensor in tensors:
            content: Any = tensor.raw_data
            if tensor.name in values:
                content = values[tensor.name].read().reshape(-1).view(np.uint8).data
            offset += -offset % PAGE_BYTES
            file.seek(offset)
            file.write(content)
            tensor.raw_data = b""  # what it asks for, to say that the value is elsewhere
            set_external_data(tensor, data.name, offset, len(content))
            tensor.ClearField("raw_data")
            offset += len(content)


def refuse_invalid(path: Path, original: str | bytes) -> None:
    """Refuse a written model that ONNX's checker rejects, unless it rejects the original, too.

    Args:
        path: the written model.
        original: the model that it was made from, as a path or as bytes.

    Raises:
        ModelError: the checker rejects the written model.
    """
    fault = fault_of(str(path))
    if fault and not fault_of(original):
        raise ModelError(f"the model with the new weights is not valid: {fault}")
