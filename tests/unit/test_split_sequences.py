"""Parts that are taken out of a sequence at constant positions: slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.passes import split_sequences
from support.graphs import i64, node
from support.inference import outputs_of

X = np.arange(42, dtype=np.float32).reshape(2, 7, 3)
INTEGERS = {"sizes": i64(2, 1, 4), "three": np.array(3), "zero": np.array(0), "one": np.array(1)}
INTEGERS["minus"] = np.array(-1)


def model_of(nodes: list[onnx.NodeProto], *outputs: str) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 7, 3]),
            helper.make_tensor_value_info("position", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in INTEGERS.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = EditableGraph(copy, {}, Path("m.onnx"), 17)
    split_sequences.PASS.run(graph)
    graph.write_nodes()
    return copy


@pytest.mark.parametrize(
    ("inputs", "keepdims", "positions"),
    [
        ("x sizes", 1, "zero one minus"),
        ("x three", 1, "zero one"),
        ("x", 1, "zero one"),
        ("x", 0, "zero one"),
    ],
)
@pytest.mark.parametrize("axis", [1, -2])
def test_parts_are_those_of_the_sequence(
    inputs: str, keepdims: int, positions: str, axis: int
) -> None:
    nodes = [
        node("SplitToSequence", inputs, "parts", axis=axis, keepdims=keepdims),
        *(node("SequenceAt", f"parts {name}", f"part_{name}") for name in positions.split()),
    ]
    model = model_of(nodes, *(one.output[0] for one in nodes[1:]))
    new = rewritten(model)
    assert not {"SplitToSequence", "SequenceAt"} & {one.op_type for one in new.graph.node}
    feeds = {"x": X, "position": np.array(0)}
    for part, expected in zip(outputs_of(new, feeds), outputs_of(model, feeds), strict=True):
        np.testing.assert_array_equal(part, expected, strict=True)


@pytest.mark.parametrize(
    ("inputs", "reader"),
    [
        ("x sizes", node("SequenceAt", "parts position", "y")),
        ("x three", node("SequenceAt", "parts minus", "y")),
        ("x sizes", node("ConcatFromSequence", "parts", "y", axis=1)),
    ],
)
def test_other_sequences_stay(inputs: str, reader: onnx.NodeProto) -> None:
    nodes = [
        node("SplitToSequence", inputs, "parts", axis=1),
        node("SequenceAt", "parts one", "part"),
        reader,
    ]
    model = model_of(nodes, "part", "y")
    assert rewritten(model) == model
