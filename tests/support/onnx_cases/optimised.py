"""Files that ONNX Runtime has optimised for the processor that it ran on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import helper

from support.graphs import node
from support.onnx_cases.case import OnnxCase, graph_model, matrix_product, normal

STEPS = 5


def layout_optimised() -> onnx.ModelProto:
    """Return a net whose convolutions ONNX Runtime has laid out for this processor, if it has."""
    nodes, last = [], "x"
    for index in range(STEPS):
        pads = [1] * 4
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"a{index}"], pads=pads))
        nodes.append(node("Relu", f"a{index}", f"r{index}"))
        last = f"r{index}"
    nodes += [
        node("GlobalAveragePool", last, "p"),
        node("Flatten", "p", "f"),
        matrix_product("f", "v", "y", "fc"),
    ]
    weights = {f"w{index}": normal(16, 16 if index else 3, 3, 3) for index in range(STEPS)}
    weights["v"] = normal(16, 8)
    model = graph_model(nodes, {"x": ["n", 3, 8, 8]}, "y", weights)
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(Path(folder) / "m.onnx")
        providers = ["CPUExecutionProvider"]
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
        return onnx.load(options.optimized_model_filepath)


def blocked_layout() -> OnnxCase:
    """Five convolutions of one reason: the warning gives it once, and what to do."""
    model = layout_optimised()
    blocked = [one for one in model.graph.node if one.domain == "com.microsoft.nchwc"]
    (last,) = [one for one in model.graph.node if one.op_type in ("MatMul", "Gemm")]
    said = ["more: ONNX Runtime has laid out its weight for a processor"] if blocked else []
    convolutions = [one for one in model.graph.node if one.op_type in ("Conv", "FusedConv")]
    own = {} if blocked else {one.name or one.output[0]: one.output[0] for one in convolutions}
    return OnnxCase(
        model, {"x": normal(16, 3, 8, 8)}, {**own, last.name: last.output[0]}, said=said
    )


CASES = (blocked_layout,)
