"""The end of building a graph: its inputs, parameters and outputs, and its bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from lsuv_cli.core.indices import TapKey, TapKind
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.measurements import InstrumentedGraph, Tap
from lsuv_cli.core.records import Specs
from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.graph.nodes import values_read
from lsuv_cli.reading.model import OnnxModel


def instrumented(
    builder: GraphBuilder,
    model: OnnxModel,
    feeds: Specs,
    taps: Mapping[TapKey, Tap],
    carried: Mapping[str, str] | None = None,
) -> InstrumentedGraph:
    """Serialise a graph under construction.

    Args:
        builder: the graph.
        model: the model it was made from.
        feeds: its inputs: the model's, and values of the model, with the axes open that vary.
        taps: where the moments of each tapped value are.
        carried: the name in the graph of each of the model's values that is to be fetched.
    """
    carried = carried or {}
    kinds = list(TapKind)
    ordered = dict(sorted(taps.items(), key=lambda tap: kinds.index(tap[0].kind)))
    outputs = {tap.output: int(TensorProto.DOUBLE) for tap in ordered.values()}
    outputs |= {tap.count: int(TensorProto.INT64) for tap in ordered.values() if tap.count}
    outputs |= dict.fromkeys(carried.values(), int(TensorProto.UNDEFINED))
    serialised = builder.model(model.skeleton, _inputs(model, feeds), outputs)
    external = dict(builder.external)
    return InstrumentedGraph(serialised, external, ordered, dict(carried))


def _inputs(model: OnnxModel, feeds: Specs) -> list[onnx.ValueInfoProto]:
    """Return the graph's inputs: the model's with the batch axis open, and values passed on."""
    inputs = []
    declared = {value.name: value for value in model.skeleton.graph.input}
    for name, spec in feeds.items():
        if name in declared:
            value = onnx.ValueInfoProto()
            value.CopyFrom(declared[name])
            sizes = value.type.tensor_type.shape.dim
            if sizes and spec.batch_axis is not None:
                sizes[spec.batch_axis].dim_param = "lsuv_batch"
        else:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
            value = helper.make_tensor_value_info(name, kind, spec.shape)
        inputs.append(value)
    return inputs


def add_parameters(
    builder: GraphBuilder, nodes: Iterable[onnx.NodeProto], weights: Mapping[str, FloatArray]
) -> None:
    """Add the floating-point initializers that some nodes use."""
    used: set[str] = set()
    for node in nodes:
        used |= values_read(node)
    for name in weights:
        if name in used:
            builder.parameter(name, weights[name])
