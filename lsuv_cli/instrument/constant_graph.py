"""The graph that computes a weight from its parameters."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import TensorProto

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.measurements import InstrumentedGraph
from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.reading.model import OnnxModel


def constant_graph(
    model: OnnxModel, value: str, parameters: Mapping[str, FloatArray]
) -> InstrumentedGraph:
    """Build the graph that computes a value which depends on parameters alone.

    Args:
        model: the model.
        value: the value.
        parameters: an array for each parameter that it depends on.
    """
    builder = GraphBuilder(model.opset)
    builder.nodes += model.uses.needed([value])
    for name, array in parameters.items():
        builder.parameter(name, array)
    serialised = builder.model(model.skeleton, [], {value: int(TensorProto.UNDEFINED)})
    return InstrumentedGraph(serialised, dict(builder.external), {}, {value: value})
