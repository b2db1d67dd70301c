"""Every operator that the table calls homogeneous is so in ONNX Runtime: f(p x) = p f(x)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper

from lsuv_cli.graph.operators.operator import Homogeneity
from lsuv_cli.graph.operators.table import OPERATORS, homogeneity_of, scaled_outputs
from support.graphs import i64, random_weight

Inputs = list[NDArray[Any]]

X = random_weight(2, 4, 6, 6)
SLOPE = random_weight(4, 1, 1)
# Inputs and attributes; an operator that is not here takes X alone.
EXAMPLES: dict[str, tuple[Inputs, dict[str, Any]]] = {
    "AveragePool": ([X], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}),
    "Concat": ([X, X - 1], {"axis": 1}),
    "DepthToSpace": ([X], {"blocksize": 2}),
    "Div": ([X, X + 9], {}),
    "Expand": ([X[:, :1], i64(2, 4, 6, 6)], {}),
    "Gather": ([X, i64(3, 0)], {"axis": 1}),
    "LpPool": ([X], {"kernel_shape": [3, 3]}),
    "MaxPool": ([X], {"kernel_shape": [2, 2]}),
    "PRelu": ([X, SLOPE], {}),
    "Pad": ([X, i64(0, 0, 1, 1, 0, 0, 2, 2)], {}),
    "ReduceSum": ([X, i64(1)], {}),
    "Reshape": ([X, i64(2, -1)], {}),
    "Slice": ([X, i64(1), i64(3), i64(2)], {}),
    "SpaceToDepth": ([X], {"blocksize": 2}),
    "Split": ([X, i64(1, 3)], {"axis": 1}),
    "Squeeze": ([X[:, :1], i64(1)], {}),
    "Tile": ([X, i64(1, 1, 2, 1)], {}),
    "Unsqueeze": ([X, i64(1)], {}),
    **dict.fromkeys(("Add", "Max", "Mean", "Min", "Mul", "Sub", "Sum"), ([X, SLOPE + 0 * X], {})),
}
OUTPUTS = {"Dropout": 2, "MaxPool": 2, "Split": 2}


def outputs_of(node: onnx.NodeProto, inputs: Inputs) -> dict[str, NDArray[Any]]:
    graph = helper.make_graph(
        [node],
        "test",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in zip(node.input, inputs, strict=True)
        ],
        [onnx.ValueInfoProto(name=name) for name in node.output],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = session.run(None, dict(zip(node.input, inputs, strict=True)))
    return dict(zip(node.output, map(np.asarray, found), strict=True))


@pytest.mark.parametrize(
    ("domain", "op"),
    [key for key, operator in OPERATORS.items() if operator.homogeneity is not Homogeneity.NONE],
)
def test_scaled_inputs_give_scaled_outputs(domain: str, op: str) -> None:
    inputs, attributes = EXAMPLES.get(op, ([X], {}))
    names = [f"x{index}" for index in range(len(inputs))]
    made = [f"y{index}" for index in range(OUTPUTS.get(op, 1))]
    node = helper.make_node(op, names, made, domain=domain, **attributes)
    factors = [1.0] * len(inputs)
    match homogeneity_of(node):
        case Homogeneity.FIRST_INPUT:
            factors[0] = 3.0
        case Homogeneity.JOINT:
            factors = [3.0] * len(inputs)
        case Homogeneity.EACH_INPUT:
            factors = [3.0, 5.0]
        case Homogeneity.NONE:
            pytest.fail("the example is not one for which the table's row holds")
    scaled = [
        (value * factor).astype(value.dtype) if factor != 1 else value
        for value, factor in zip(inputs, factors, strict=True)
    ]
    power = math.prod(factors) if homogeneity_of(node) is Homogeneity.EACH_INPUT else 3.0
    before, after = outputs_of(node, inputs), outputs_of(node, scaled)
    for name in made:
        factor = power if name in scaled_outputs(node) else 1.0
        np.testing.assert_allclose(
            after[name], before[name] * factor, rtol=1e-5, atol=1e-5, err_msg=name
        )
