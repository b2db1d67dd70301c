"""Gemm that adds data, which is no bias: a Gemm and an Add."""

from __future__ import annotations

import numpy as np
import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import attributes
from lsuv_cli.graph.operators.table import OPERATORS
from lsuv_cli.passes.pipeline import Pass


def separate_addends(graph: EditableGraph) -> None:
    """Replace each Gemm whose addend is no parameter by a Gemm without one and an Add."""
    if graph.opset < OPERATORS["", "Gemm"].optional_addend_opset:
        return
    for node in graph.nodes:
        addend = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
        if addend and not graph.is_weight(addend):
            graph.replace(node, _separated(node, graph))


def _separated(node: onnx.NodeProto, graph: EditableGraph) -> list[onnx.NodeProto]:
    addend, output = node.input[2], node.output[0]
    new = graph.new_nodes(output)
    gemm = onnx.NodeProto()
    gemm.CopyFrom(node)
    del gemm.input[2:]
    gemm.output[0] = new.name("product")
    new.nodes.append(gemm)
    beta = attributes(node).get("beta", 1.0)
    if beta != 1.0:
        views = [view for view in map(graph.view, node.input[:2]) if view is not None]
        dtype = graph.info(views[0]).dtype if views else np.dtype(np.float32)
        factor = new.constant(np.asarray(beta, dtype), "beta")
        addend = new.node("Mul", [addend, factor], "addend")
    new.node("Add", [gemm.output[0], addend], output=output)
    return new.nodes


PASS = Pass("gemm_addends", separate_addends, requires=("rearrangements",))
