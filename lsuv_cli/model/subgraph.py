"""What measuring and sweeping graphs have in common: inputs, needed nodes, parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import TensorProto

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.records import InstrumentedGraph, Tap
from lsuv_cli.model.graph_builder import GraphBuilder
from lsuv_cli.model.nodes import values_read
from lsuv_cli.model.onnx_file import OnnxModel


def instrumented(
    builder: GraphBuilder,
    model: OnnxModel,
    taps: Mapping[int, Tap],
    norm_taps: Mapping[int, Tap] | None = None,
) -> InstrumentedGraph:
    """Close a graph under construction, its outputs being the taps."""
    norm_taps = norm_taps or {}
    everything = (*taps.values(), *norm_taps.values())
    outputs = {tap.output: int(TensorProto.DOUBLE) for tap in everything}
    serialised = builder.model(model.skeleton, _inputs(model), outputs)
    return InstrumentedGraph(serialised, dict(builder.external), dict(taps), dict(norm_taps))


def _inputs(model: OnnxModel) -> list[onnx.ValueInfoProto]:
    """The model's inputs, with the batch axis open."""
    fed = {spec.name for spec in model.inputs}
    inputs = []
    for value in model.skeleton.graph.input:
        if value.name in fed:
            copy = onnx.ValueInfoProto()
            copy.CopyFrom(value)
            if copy.type.tensor_type.shape.dim:
                copy.type.tensor_type.shape.dim[0].dim_param = "lsuv_batch"
            inputs.append(copy)
    return inputs


def needed_nodes(model: OnnxModel, values: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that the values depend on, in execution order."""
    nodes = model.nodes
    producers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    pending = [producers[name] for name in values if name in producers]
    needed: set[int] = set()
    while pending:
        index = pending.pop()
        if index not in needed:
            needed.add(index)
            pending += [producers[n] for n in values_read(nodes[index]) if n in producers]
    return [nodes[index] for index in sorted(needed)]


def add_parameters(
    builder: GraphBuilder, nodes: Iterable[onnx.NodeProto], weights: Mapping[str, FloatArray]
) -> None:
    """Add the floating-point initializers that the nodes use."""
    used: set[str] = set()
    for node in nodes:
        used |= values_read(node)
    for name in weights:
        if name in used:
            builder.parameter(name, weights[name])
