"""Biases that Keras adds after a product has been reshaped, moved before that.

TensorFlow computes a 1-d convolution as a 2-d one and a Squeeze, crops the output of a transposed
convolution, and computes a Dense on sequences or attention's projections as a matrix product that
it reshapes; the layer's bias is added after that. Adding it before is equivalent, and `layers`
finds a bias only there.
"""

from __future__ import annotations

import math
import re

import onnx
from onnx import helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.keras_origin import is_from_tf2onnx, scope_of_node
from lsuv_cli.graph.nodes import attributes
from lsuv_cli.graph.views import Reshaped, View
from lsuv_cli.passes.pipeline import Pass

_ADDING = re.compile(r"(Bias)?Add|add")


def move_late_biases(graph: EditableGraph) -> None:
    """Have each layer's bias added right after its product."""
    if not is_from_tf2onnx(graph.model):
        return
    for node in graph.nodes:
        bias_shape = _bias_shape(node, graph)
        reshaping, adder = _behind(node, graph)
        if not bias_shape or not reshaping or adder is None:
            continue
        bias = adder.input[1] if adder.input[0] == reshaping[-1].output[0] else adder.input[0]
        view, shape = graph.view(bias), graph.shape(bias)
        if view is None or shape is None or math.prod(shape) != math.prod(bias_shape):
            continue
        product = node.output[0]
        graph.add_view(f"{product}/bias", View(view.parameter, (*view.steps, Reshaped(bias_shape))))
        graph.remove(adder)
        graph.set_output(reshaping[-1], 0, adder.output[0])
        graph.set_output(node, 0, f"{product}/product")
        terms = [node.output[0], f"{product}/bias"]
        graph.replace(node, [node, helper.make_node("Add", terms, [product], name=adder.name)])


def _bias_shape(node: onnx.NodeProto, graph: EditableGraph) -> tuple[int, ...]:
    """Return the shape that adds one number to each channel of a product; () for another node."""
    weight = graph.shape(node.input[1]) or () if len(node.input) == 2 else ()
    if node.op_type == "MatMul" and len(weight) == 2:
        return weight[1:]
    if node.op_type in ("Conv", "ConvTranspose") and len(weight) > 2:
        group = attributes(node).get("group", 1)
        channels = weight[0] if node.op_type == "Conv" else weight[1] * group
        return (channels, *(1,) * (len(weight) - 2))
    return ()


def _behind(
    node: onnx.NodeProto, graph: EditableGraph
) -> tuple[list[onnx.NodeProto], onnx.NodeProto | None]:
    """Return the nodes that reshape a product, and the Add of the same layer behind them."""
    layers = scope_of_node(node).layers
    reshaping: list[onnx.NodeProto] = []
    value = node.output[0]
    while value not in graph.outputs:
        # A bias changes no shape.
        following = [reader for reader in graph.readers(value) if reader.op_type != "Shape"]
        if len(following) != 1:
            break
        (reader,) = following
        scope = scope_of_node(reader)
        if reader.op_type in ("Reshape", "Slice", "Squeeze") and reader.input[0] == value:
            reshaping.append(reader)
            value = reader.output[0]
            continue
        is_bias = reader.op_type == "Add" and _ADDING.fullmatch(scope.operation) is not None
        return reshaping, reader if is_bias and layers and scope.layers == layers else None
    return reshaping, None


PASS = Pass("late_biases", move_late_biases, requires=("rearrangements", "einsum"))
