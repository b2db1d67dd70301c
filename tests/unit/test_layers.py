"""The layers of a graph, their biases, and the nodes that are left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lsuv_cli.layers.find import find_layers
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.left_alone import layers_left_alone
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import random_weight, save_graph


def layer_nodes_of(tmp_path: Path, nodes: list[onnx.NodeProto], **weights: Any) -> list[LayerNode]:
    shape: tuple[int | str, ...] = ("n", 3, 8, 8) if nodes[0].op_type == "Conv" else ("n", 6)
    return find_layers(read_model(save_graph(tmp_path / "m.onnx", nodes, weights, shape))[0])


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=f"n_{output}", **attributes)


W66 = random_weight(6, 6)
B6 = random_weight(6)


@pytest.mark.parametrize(
    ("nodes", "weights", "bias"),
    [
        ([node("MatMul", "x w", "a"), node("Add", "a b", "y")], {"w": W66, "b": B6}, "b"),
        ([node("MatMul", "x w", "a"), node("Add", "b a", "y")], {"w": W66, "b": B6}, "b"),
        ([node("Gemm", "x w b", "y")], {"w": W66, "b": B6}, "b"),
        ([node("Gemm", "x w b", "y", beta=0.0)], {"w": W66, "b": B6}, None),
        # One number for all channels.
        ([node("Gemm", "x w b", "y")], {"w": W66, "b": random_weight(1, 6)[:, :1] * 2}, "b"),
        # Used twice, so that it belongs to no layer.
        (
            [node("MatMul", "x w", "a"), node("Add", "a b", "c"), node("Add", "c b", "y")],
            {"w": W66, "b": B6},
            None,
        ),
        # The product is used before the bias is added, too.
        (
            [node("MatMul", "x w", "a"), node("Add", "a b", "c"), node("Mul", "a c", "y")],
            {"w": W66, "b": B6},
            None,
        ),
        ([node("MatMul", "x w", "a"), node("Sub", "a b", "y")], {"w": W66, "b": B6}, None),
        ([node("Conv", "x w b", "y")], {"w": random_weight(6, 3, 3, 3), "b": B6}, "b"),
        (
            [node("Conv", "x w", "a"), node("Add", "a b", "y")],
            {"w": random_weight(6, 3, 3, 3), "b": B6.reshape(1, 6, 1, 1)},
            "b",
        ),
        # Along the last axis, which is the picture's width.
        (
            [node("Conv", "x w", "a"), node("Add", "a b", "y")],
            {"w": random_weight(6, 3, 3, 3), "b": B6},
            None,
        ),
    ],
)
def test_biases(
    tmp_path: Path, nodes: list[onnx.NodeProto], weights: dict[str, Any], bias: str | None
) -> None:
    (layer_node,) = layer_nodes_of(tmp_path, nodes, **weights)
    assert layer_node.layer.bias_value == bias
    added_behind = bias is not None and nodes[-1].op_type == "Add"
    assert layer_node.layer.output == nodes[-1 if added_behind else 0].output[0]
    assert layer_node.layer.parameter_count == weights["w"].size + (
        weights["b"].size if bias else 0
    )


def test_what_is_no_layer(tmp_path: Path) -> None:
    """Products of two values or of two constants, and a vector as weight."""
    nodes = [
        node("MatMul", "x w", "a"),
        node("Transpose", "a", "t"),
        node("MatMul", "t a", "q"),
        node("MatMul", "w w", "constant"),
        node("MatMul", "a v", "dot"),
        node("Gemm", "constant u", "from_constants"),
    ]
    layer_nodes = layer_nodes_of(tmp_path, nodes, w=W66, v=B6, u=W66)
    assert [layer_node.layer.name for layer_node in layer_nodes] == ["n_a", "n_from_constants"]
    assert all(layer_node.unusable is None for layer_node in layer_nodes)
    assert layer_nodes[0].layer.foreign_use == "n_constant"


def test_what_is_left_alone_is_named(tmp_path: Path) -> None:
    output = helper.make_tensor_value_info("m", TensorProto.FLOAT, None)
    inner = [helper.make_node("MatMul", ["x", "w"], ["m"], name="hidden")]
    body = helper.make_graph(inner, "body", [], [output])
    nodes = [
        helper.make_node("Einsum", ["x", "v"], ["e"], name="sum", equation="ni,io->n"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=body, else_branch=body),
    ]
    weights = {"w": W66, "v": W66 * 2, "c": np.array(True)}
    model, _ = read_model(save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 6)))
    assert layers_left_alone(model) == [
        "sum (Einsum): its equation is no product by a matrix",
        *["hidden (MatMul): it is inside If, which is not unrolled here"] * 2,
    ]


def test_a_weight_that_a_body_uses_too(tmp_path: Path) -> None:
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    body = helper.make_graph([helper.make_node("Add", ["a", "w"], ["z"])], "body", [], [output])
    nodes = [
        node("MatMul", "x w", "a"),
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=body, else_branch=body),
    ]
    (layer_node,) = layer_nodes_of(tmp_path, nodes, w=W66, c=np.array(True))
    assert layer_node.layer.foreign_use == "if"
