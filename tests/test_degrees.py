"""Degrees of homogeneity in the table of operators, each checked in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lsuv_cli.graph.homogeneous import degree_in
from lsuv_cli.graph.operators.table import OPERATORS
from support.graphs import i64, random_weight
from support.inference import outputs_of

Array = NDArray[Any]
OPSET = 22

A, B = random_weight(3, 4), random_weight(4, 3)
LIKE = random_weight(3, 4, seed=1)
IMAGE, FILTER = random_weight(2, 3, 5, 5), random_weight(4, 3, 3, 3)
ROWS = np.array([[1], [0]], np.int64)
CHANNELS = (random_weight(3), random_weight(3, seed=2))
STATISTICS = (np.zeros(3, np.float32), np.ones(3, np.float32))
# For each row with a rule of its own: the inputs, those that are scaled, and the attributes.
CASES: list[tuple[str, list[Array], tuple[int, ...], dict[str, Any]]] = [
    ("BatchNormalization", [IMAGE, *CHANNELS, *STATISTICS], (1, 2), {}),
    ("Cast", [A], (0,), {"to": TensorProto.DOUBLE}),
    ("CastLike", [A, LIKE], (0,), {}),
    ("Conv", [IMAGE, FILTER], (1,), {}),
    ("Conv", [IMAGE, FILTER], (0, 1), {}),
    ("ConvTranspose", [IMAGE, random_weight(3, 2, 3, 3)], (0, 1), {}),
    ("CumSum", [A, np.array(0, np.int64)], (0,), {}),
    ("Div", [A, LIKE], (0,), {}),
    ("Div", [A, LIKE], (1,), {}),
    ("Div", [A, LIKE], (0, 1), {}),
    ("Einsum", [A, B], (0, 1), {"equation": "ij,jk->ik"}),
    ("GatherElements", [A, i64(0, 2)[:, None]], (0,), {"axis": 1}),
    ("GatherND", [A, ROWS], (0,), {}),
    ("Gemm", [A, B], (0, 1), {}),
    ("Gemm", [A, B, random_weight(3)], (0, 2), {}),
    ("GroupNormalization", [IMAGE, *CHANNELS], (1, 2), {"num_groups": 3}),
    ("InstanceNormalization", [IMAGE, *CHANNELS], (1, 2), {}),
    ("LayerNormalization", [A, random_weight(4), random_weight(4, seed=3)], (1, 2), {}),
    ("LpNormalization", [A], (0,), {}),
    ("MatMul", [A, B], (0,), {}),
    ("MatMul", [A, B], (0, 1), {}),
    ("Neg", [A], (0,), {}),
    ("Reciprocal", [A], (0,), {}),
    ("ReduceSumSquare", [A], (0,), {}),
    ("Sqrt", [np.abs(A)], (0,), {}),
    ("Trilu", [A], (0,), {}),
    ("Where", [A > 0, A, LIKE], (1, 2), {}),
]


def test_every_rule_has_a_case() -> None:
    rules = {name for (_, name), operator in OPERATORS.items() if operator.degree is not None}
    assert rules == {name for name, *_ in CASES}


@pytest.mark.parametrize("case", CASES, ids=[f"{op}-{scaled}" for op, _, scaled, _ in CASES])
def test_an_output_grows_by_its_degree(
    case: tuple[str, list[Array], tuple[int, ...], dict[str, Any]],
) -> None:
    op, inputs, scaled, attributes = case
    names = [f"x{position}" for position in range(len(inputs))]
    node = helper.make_node(op, names, ["y"], **attributes)
    degree = degree_in("y", [node], {names[position] for position in scaled}, {})
    assert degree is not None
    (before,), (after,) = (
        run(node, [v * v.dtype.type(f) if i in scaled else v for i, v in enumerate(inputs)])
        for f in (1, 2)
    )
    np.testing.assert_allclose(after, before * 2**degree, rtol=1e-4, atol=1e-5)


def run(node: onnx.NodeProto, inputs: list[Array]) -> list[Array]:
    values = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in zip(node.input, inputs, strict=True)
    ]
    output = onnx.ValueInfoProto(name="y")
    model = helper.make_model(
        helper.make_graph([node], "g", values, [output]),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
    )
    return outputs_of(model, dict(zip(node.input, inputs, strict=True)))
