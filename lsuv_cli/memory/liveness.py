"""Memory computed from shapes alone, for a model that can't be run yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import onnx
from onnx import helper

from lsuv_cli.core.batches import Batches, take_samples
from lsuv_cli.core.records import Feeds
from lsuv_cli.graph.liveness import live_bytes
from lsuv_cli.graph.onnx_library import infer_shapes
from lsuv_cli.memory.use import Line, MemoryUse, line_through
from lsuv_cli.reading.model import OnnxModel

# None is 1, which would be broadcast or squeezed away.
BATCHES = (2, 3)


def computed_use(model: OnnxModel, samples: Batches, reason: str) -> MemoryUse:
    """Return the memory that follows from the shapes that ONNX infers, with no guess beyond.

    Args:
        model: the model.
        samples: one batch, of which only shapes and dtypes are looked at.
        reason: why it was not measured.
    """
    feeds, specs = samples.feeds(0), samples.specs
    tables = {size: _inferred(model, take_samples(feeds, specs, range(size))) for size in BATCHES}
    known = set.intersection(*(set(table) for table in tables.values()))
    made = [name for node in model.nodes for name in node.output if name]
    missing = sum(name not in known for name in made)
    caveat = f"{reason}; computed from the shapes that ONNX infers"
    if missing:
        caveat += f", which are unknown for {missing} of {len(made)} values, so that it is too low"
    live = line_through({size: live_bytes(model.nodes, table) for size, table in tables.items()})
    one = take_samples(feeds, specs, range(1))
    fed = Line(0.0, float(sum(value.nbytes for value in one.values())))
    values = {
        name: line_through({size: table[name] for size, table in tables.items()}) for name in known
    }
    return MemoryUse(live, live, fed, values, caveat)


def _inferred(model: OnnxModel, feeds: Feeds) -> dict[str, int]:
    """Return the bytes of the values whose shapes ONNX infers for a batch."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.skeleton)
    graph = proto.graph
    held = {tensor.name for tensor in graph.initializer}
    del graph.input[:], graph.value_info[:]
    for name, value in feeds.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))
    for name, info in model.weight_values.items():
        if name not in held:
            kind = helper.np_dtype_to_tensor_dtype(info.dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, info.shape))
    for output in graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    inferred = infer_shapes(proto) or graph
    return dict(_tensor_bytes([*inferred.value_info, *inferred.output, *inferred.input]))


def _tensor_bytes(values: Iterable[onnx.ValueInfoProto]) -> Iterator[tuple[str, int]]:
    """Yield the names and bytes of those values that are tensors of known shape."""
    for value in values:
        tensor = value.type.tensor_type
        sizes = [dim.dim_value for dim in tensor.shape.dim if dim.HasField("dim_value")]
        is_known = value.type.HasField("tensor_type") and tensor.HasField("shape")
        if is_known and tensor.elem_type and len(sizes) == len(tensor.shape.dim):
            item = helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
            yield value.name, math.prod(sizes) * int(item)
