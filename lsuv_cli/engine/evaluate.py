"""The value of a part of a graph that depends on parameters alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.measurements import InstrumentedGraph
from lsuv_cli.graph.builder import GraphBuilder
from lsuv_cli.runtime.devices import CPU, Device
from lsuv_cli.runtime.run_once import run_once

# These parts are small.
ONE_CORE = Device(((CPU, {}),), "CPU", threads=1)


def evaluate(
    value: str,
    nodes: Sequence[onnx.NodeProto],
    parameters: Mapping[str, FloatArray],
    skeleton: onnx.ModelProto,
    opset: int,
) -> FloatArray:
    """Return the value that some nodes make of parameters, on the CPU.

    Args:
        value: its name.
        nodes: that compute it, in execution order.
        parameters: an array for each parameter that they read.
        skeleton: the model they belong to, for its integer initializers and operator sets.
        opset: the version of the default operator set.

    Raises:
        ModelError: ONNX Runtime can't run the nodes.
    """
    builder = GraphBuilder(opset)
    builder.nodes += nodes
    for name, array in parameters.items():
        builder.parameter(name, array)
    model = builder.model(skeleton, [], {value: onnx.TensorProto.UNDEFINED})
    graph = InstrumentedGraph(model, dict(builder.external), {}, {value: value})
    found: FloatArray = np.asarray(run_once(graph, {}, ONE_CORE)[value])
    return found
