"""Sources of the tensors of an ONNX file, which are in the file or beside it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.parameters import ParameterSource, in_memory


def tensor_source(tensor: TensorProto, model_path: Path) -> ParameterSource:
    """Return the source of a tensor; one that is external is read from its file at each call.

    Args:
        tensor: a floating-point initializer, or any that is external.
        model_path: the model's file, beside which external data lies.

    Raises:
        ModelError: its external data is missing, too short or outside the model's folder, or its
            size does not fit its shape.
    """
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    info = TensorInfo(tuple(tensor.dims), dtype)
    if tensor.data_location == TensorProto.EXTERNAL:
        return _external_source(tensor, info, model_path)
    if tensor.HasField("raw_data"):
        raw = tensor.raw_data
        if len(raw) != info.nbytes:
            raise ModelError(
                f"the weight {tensor.name} in {model_path} has {len(raw)} bytes, which does not "
                f"fit its shape {list(info.shape)}; export the model again"
            )
        return in_memory(np.frombuffer(raw, dtype).reshape(info.shape))
    array = numpy_helper.to_array(tensor)
    array.setflags(write=False)
    return in_memory(array)


def _external_source(tensor: TensorProto, info: TensorInfo, model_path: Path) -> ParameterSource:
    broken = ModelError(
        f"the weight {tensor.name} in {model_path} has external data of an impossible "
        "offset or length; export the model again"
    )
    try:
        external = ExternalDataInfo(tensor)
    except ValueError:
        raise broken from None
    if (external.offset or 0) < 0 or external.length not in (None, info.nbytes):
        raise broken
    file = model_path.parent / external.location
    # The model may be a link, and the data one beside it: so a cache of downloads keeps both.
    folders = {model_path.parent.resolve(), model_path.resolve().parent}
    inside = any(file.resolve().is_relative_to(folder) for folder in folders)
    given = Path(external.location)
    if not inside or ".." in given.parts or given.is_absolute():
        raise ModelError(
            f"the weight {tensor.name} in {model_path} points outside the model's folder, to "
            f"{external.location}; such a model is refused"
        )
    if not file.is_file():
        raise ModelError(
            f"the external data file {external.location} of {model_path} is missing; "
            "put it beside the model"
        )
    offset = external.offset or 0
    too_short = ModelError(
        f"the external data file {external.location} of {model_path} is too short for the weight "
        f"{tensor.name}; copy or export it again"
    )
    if file.stat().st_size < offset + info.nbytes:
        raise too_short

    def read_first(count: int) -> FloatArray:
        # Read, not mapped: pages of a mapped file stay resident, and count, until it is unmapped.
        nbytes = min(count * info.dtype.itemsize, info.nbytes)
        try:
            content = np.fromfile(file, np.uint8, nbytes, offset=offset)
        except OSError as error:
            raise ModelError(f"can't read {file}: {error.strerror}") from None
        if content.size != nbytes:
            raise too_short
        array: FloatArray = content.view(info.dtype)
        return array

    def read() -> FloatArray:
        return read_first(math.prod(info.shape)).reshape(info.shape)

    return ParameterSource(info, read, read_first)


def inlined(tensor: TensorProto, path: Path) -> TensorProto:
    """Return a tensor that holds its value itself, read from its file if it is external."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    return numpy_helper.from_array(tensor_source(tensor, path).read(), tensor.name)
