"""Nothing is left out in silence: every product with a constant is a row, or has a reason.

The products are found by a walk of the file that shares no code with `lsuv`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import InspectOptions, SampleOptions
from lsuv_cli.jobs.inspect import inspect_model
from lsuv_cli.report.inspect_json import inspection_json
from support.accounting import products, unaccounted
from support.graphs import i64, node, random_weight, save_graph

SIZE = 6


class Builder:
    """A graph on values (n, SIZE) under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.value = "x"

    def then(self, op: str, inputs: str, **attributes: Any) -> str:
        """Append a node; `{}` stands for the last value."""
        output = f"v{len(self.nodes)}"
        self.nodes.append(node(op, inputs.format(self.value), output, **attributes))
        return output

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = random_weight(*shape, seed=len(self.weights))
        return name

    def constant(self, value: NDArray[Any]) -> str:
        name = f"c{len(self.weights)}"
        self.weights[name] = value
        return name


def plain(made: Builder) -> None:
    made.value = made.then("MatMul", f"{{}} {made.weight(SIZE, SIZE)}")


def tied(made: Builder) -> None:
    if "w0" not in made.weights or made.weights["w0"].shape != (SIZE, SIZE):
        return plain(made)
    made.value = made.then("Gemm", "{} w0", transB=1)
    return None


def computed(made: Builder) -> None:
    weight = made.then("Mul", f"{made.weight(SIZE, SIZE)} {made.weight(1, SIZE)}")
    made.value = made.then("MatMul", f"{{}} {weight}")


def normalised(made: Builder) -> None:
    name = made.weight(SIZE, SIZE)
    norm = made.then("ReduceL2", name, axes=[0], keepdims=1)
    made.value = made.then("MatMul", f"{{}} {made.then('Div', f'{name} {norm}')}")


def vector(made: Builder) -> None:
    column = made.then("MatMul", f"{{}} {made.weight(SIZE)}")
    lifted = made.then("Unsqueeze", f"{column} {made.constant(i64(1))}")
    made.value = made.then("Mul", f"{{}} {lifted}")


def attention(made: Builder) -> None:
    turned = made.then("Transpose", "{}", perm=[1, 0])
    scores = made.then("Softmax", made.then("MatMul", f"{{}} {turned}"))
    made.value = made.then("MatMul", f"{scores} {{}}")


def table(made: Builder) -> None:
    """A layer that a parameter feeds, whose output samples are multiplied by."""
    product = made.then("Gemm", " ".join([made.weight(SIZE, 3), made.weight(3, SIZE)]))
    bent = made.then("Tanh", product)
    made.value = made.then("MatMul", f"{{}} {bent}")


def einsum(made: Builder) -> None:
    made.value = made.then("Einsum", f"{{}} {made.weight(SIZE)}", equation="ni,i->ni")


def chosen(made: Builder) -> None:
    """A matrix for each sample, chosen by its largest value."""
    index = made.then("ArgMax", "{}", axis=1, keepdims=0)
    matrices = made.then("Gather", f"{made.weight(SIZE, SIZE, SIZE)} {index}", axis=0)
    column = made.then("Unsqueeze", f"{{}} {made.constant(i64(2))}")
    product = made.then("MatMul", f"{matrices} {column}")
    made.value = made.then("Squeeze", f"{product} {made.constant(i64(2))}")


def conditional(made: Builder) -> None:
    inner = [helper.make_node("MatMul", [made.value, made.weight(SIZE, SIZE)], ["t"], name="in")]
    inner[0].name = f"inner{len(made.nodes)}"
    output = helper.make_tensor_value_info("t", TensorProto.FLOAT, None)
    body = helper.make_graph(inner, "body", [], [output])
    condition = made.constant(np.array(True))
    made.value = made.then("If", condition, then_branch=body, else_branch=body)


def constant_matrix(made: Builder) -> None:
    ones = made.then("ConstantOfShape", made.constant(i64(SIZE, SIZE)))
    made.value = made.then("MatMul", f"{{}} {ones}")


KINDS = [
    *(plain, tied, computed, normalised, vector, attention, table, einsum, chosen, conditional),
    constant_matrix,
]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
def test_no_product_of_a_random_graph_is_left_out(kinds: list[Any]) -> None:
    made = Builder()
    plain(made)
    for kind in kinds:
        kind(made)
    with tempfile.TemporaryDirectory() as name:
        path = save_graph(Path(name) / "m.onnx", made.nodes, made.weights, ("n", SIZE))
        options = InspectOptions(model=path, samples=SampleOptions(data=()))
        report = json.loads(inspection_json(inspect_model(options, Silent())))
        found = products(path, ())
        assert found
        assert unaccounted(found, report) == []
