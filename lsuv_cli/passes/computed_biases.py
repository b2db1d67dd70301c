"""Biases that the graph computes from parameters, such as `b * c` or `cat(q_bias, 0, v_bias)`.

Where all the parameters are zero, so is the bias: that is what is recorded.
"""

from __future__ import annotations

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.homogeneous import degree_in
from lsuv_cli.graph.operators.degrees import EVERY_DEGREE
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.passes.numbers import numbers_read
from lsuv_cli.passes.pipeline import Pass


def find_computed_biases(graph: EditableGraph) -> None:
    """Record the parameters of computed biases, by the value that the layer's node makes."""
    for node in graph.nodes:
        if operator_of(node).product is None or graph.activations.isdisjoint(node.output):
            continue
        value = _addend(node, graph)
        if value and value not in graph.activations and not graph.is_weight(value):
            parameters = _parameters(value, graph)
            if parameters:
                graph.computed_biases[node.output[0]] = parameters


def _addend(node: onnx.NodeProto, graph: EditableGraph) -> str:
    """Return the value that a product's node adds, or the Add behind it; "" where none does."""
    if len(node.input) > 2:
        return node.input[2]
    adder = graph.only_reader(node.output[0])
    if adder is None or adder.op_type != "Add":
        return ""
    first, second = adder.input
    return second if first == node.output[0] else first


def _parameters(value: str, graph: EditableGraph) -> tuple[str, ...]:
    """Return the parameters that make a value zero where they are; none where that is not known."""
    nodes = graph.needed([value])
    numbers = numbers_read(graph, nodes)
    made = {name for node in nodes for name in node.output}
    found = []
    for name in dict.fromkeys(name for node in nodes for name in node.input):
        view = graph.view(name)
        if view is None or name in numbers or view.parameter in graph.fixed:
            continue
        is_vector = sum(size > 1 for size in graph.shape(name) or ()) <= 1
        inside = all(made.intersection(reader.output) for reader in graph.readers(name))
        if not is_vector or not inside:
            return ()
        found.append(name)
    degree = degree_in(value, nodes, found, numbers)
    return tuple(found) if degree not in (None, 0, EVERY_DEGREE) else ()


PASS = Pass("computed_biases", find_computed_biases, requires=("activations", "gemm_addends"))
