"""Biases that Keras adds after a product has been reshaped, moved before that.

TensorFlow computes a 1-d convolution as a 2-d one and squeezes, cuts what a transposed convolution
makes to size, and computes a Dense on sequences or attention's projections as a matrix product that
it reshapes; the layer's bias comes after. Adding it before gives the same, and is what `layers`
looks for.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import onnx
from onnx import helper

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.keras_origin import scope_of_node
from lsuv_cli.graph.nodes import attributes, values_read
from lsuv_cli.graph.views import Reshaped, View, with_whole

_ADDING = re.compile(r"(Bias)?Add|add")


def move_late_biases(
    nodes: Sequence[onnx.NodeProto],
    infos: Mapping[str, TensorInfo],
    views: Mapping[str, View],
    outputs: Collection[str],
) -> tuple[list[onnx.NodeProto], dict[str, View]]:
    """Have each layer's bias added right after its product.

    Args:
        nodes: in execution order; modified.
        infos: shape and dtype of each parameter.
        views: the values that only show a parameter.
        outputs: the graph's outputs.

    Returns:
        The nodes, and the views of the biases that they read.
    """
    everything = with_whole(infos, views)
    shapes = {name: view.shape(infos[view.parameter].shape) for name, view in everything.items()}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in nodes:
        for name in values_read(node):
            readers[name].append(node)
    made: dict[str, View] = {}
    added: dict[str, onnx.NodeProto] = {}
    gone: set[str] = set()
    for node in nodes:
        bias_shape = _bias_shape(node, shapes)
        reshaping, adder = _behind(node, readers, outputs)
        if not bias_shape or not reshaping or adder is None:
            continue
        bias = adder.input[1] if adder.input[0] == reshaping[-1].output[0] else adder.input[0]
        if bias not in shapes or math.prod(shapes[bias]) != math.prod(bias_shape):
            continue
        view = everything[bias]
        product = node.output[0]
        made[f"{product}/bias"] = View(view.parameter, (*view.steps, Reshaped(bias_shape)))
        node.output[0] = f"{product}/product"
        names = [node.output[0], f"{product}/bias"]
        added[node.output[0]] = helper.make_node("Add", names, [product], name=adder.name)
        gone.add(adder.output[0])
        reshaping[-1].output[0] = adder.output[0]
    kept = []
    for node in nodes:
        if node.op_type != "Add" or node.output[0] not in gone:
            kept.append(node)
        if node.output[0] in added:
            kept.append(added[node.output[0]])
    return kept, made


def _bias_shape(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that adds one number to each channel of a product; () for any other node."""
    weight = shapes.get(node.input[1], ()) if len(node.input) == 2 else ()
    if node.op_type == "MatMul" and len(weight) == 2:
        return weight[1:]
    if node.op_type in ("Conv", "ConvTranspose") and len(weight) > 2:
        group = attributes(node).get("group", 1)
        channels = weight[0] if node.op_type == "Conv" else weight[1] * group
        return (channels, *(1,) * (len(weight) - 2))
    return ()


def _behind(
    node: onnx.NodeProto,
    readers: Mapping[str, Sequence[onnx.NodeProto]],
    outputs: Collection[str],
) -> tuple[list[onnx.NodeProto], onnx.NodeProto | None]:
    """The nodes that reshape a product, and the Add of the same layer that follows, if one does."""
    layers = scope_of_node(node).layers
    reshaping: list[onnx.NodeProto] = []
    value = node.output[0]
    while value not in outputs:
        # A bias changes no shape.
        following = [reader for reader in readers.get(value, ()) if reader.op_type != "Shape"]
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
