"""Factors of one, by which PyTorch's older exporter multiplies what it adds up.

`baddbmm(b, x, w)` is `beta * b + alpha * (x @ w)`, and the exporter writes the two factors out.
"""

from __future__ import annotations

from onnx import helper, numpy_helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes
from lsuv_cli.passes.pipeline import Pass


def drop_unit_factors(graph: EditableGraph) -> None:
    """Remove the factor of each parameter and each matrix product that is multiplied by one."""
    for node in graph.nodes:
        if node.op_type != "Mul" or node.domain not in DEFAULT_DOMAINS:
            continue
        rest = [name for name in node.input if not _is_one(name, graph)]
        if len(rest) != 1:
            continue
        product = graph.producer(rest[0])
        if graph.is_weight(rest[0]):
            graph.replace(node, [helper.make_node("Identity", rest, node.output)])
        elif product is not None and product.op_type == "MatMul" and _is_read_once(rest[0], graph):
            graph.remove(node)
            graph.set_output(product, 0, node.output[0])


def _is_read_once(value: str, graph: EditableGraph) -> bool:
    return graph.read_count(value) == 1 and value not in graph.outputs


def _is_one(value: str, graph: EditableGraph) -> bool:
    """Return whether a value is the number one, without axes."""
    node = graph.producer(value)
    if node is not None and node.op_type == "Cast":
        node = graph.producer(node.input[0])
    if node is None or node.op_type != "Constant":
        return False
    found = attributes(node).get("value")
    if found is None:
        return False
    number = numpy_helper.to_array(found)
    return bool(number.ndim == 0 and number == 1)


PASS = Pass(
    "unit_factors",
    drop_unit_factors,
    # The exporter writes an Identity for a parameter that it stores once, too.
    requires=("constant_parameters", "identity_copies", "torch_sharing"),
)
