"""ONNX Runtime's fused attention, with the three projections before it taken out.

`Attention` multiplies by queries', keys' and values' weights, side by side in one parameter, and
attends; `MultiHeadAttention` only attends. On the CPU both run the same code from there on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from lsuv_cli.graph.nodes import MICROSOFT_DOMAIN, NewNames, attributes, node_name

# A size that is no number has a name; two of the same name are equal.
Sizes = tuple[int | str, ...]

PARTS = ("query", "key", "value")
# Attention's inputs by position.
WEIGHT, BIAS, MASK, PAST, ATTENTION_BIAS, PAST_LENGTH = range(1, 7)
# What both operators understand in the same way.
SHARED_ATTRIBUTES = ("num_heads", "scale", "unidirectional", "mask_filter_value")


class AttentionMasks:
    """What a graph says of the shapes of attention's masks."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model

    def fits(self, mask: str) -> bool:
        """Whether MultiHeadAttention takes a mask for the same thing as Attention does.

        Both know lengths (batch), (batch, keys) and (batch, queries, keys). Attention alone knows
        (batch, 1) and (1, 1), which mask nothing, (2 batch), and four axes.
        """
        sizes = self._sizes.get(mask)
        if sizes is None:
            return False
        if len(sizes) == 1:
            return sizes[0] in self._batch_sizes
        return len(sizes) == 3 or (len(sizes) == 2 and sizes[1] != 1)

    # Inference takes time in a large graph, and few graphs have a mask.
    @cached_property
    def _sizes(self) -> dict[str, Sizes]:
        graph = shape_inference.infer_shapes(self._model).graph
        sizes: dict[str, Sizes] = {t.name: tuple(t.dims) for t in graph.initializer}
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.tensor_type
            if kind.HasField("shape"):
                sizes[value.name] = tuple(_size(value.name, d) for d in kind.shape.dim)
        return sizes

    @property
    def _batch_sizes(self) -> set[int | str]:
        """The sizes of the inputs' first axes; an input of one axis may be the mask itself."""
        inputs = (self._sizes.get(value.name, ()) for value in self._model.graph.input)
        return {sizes[0] for sizes in inputs if len(sizes) > 1}


def _size(value: str, dimension: onnx.TensorShapeProto.Dimension) -> int | str:
    if dimension.HasField("dim_value"):
        return int(dimension.dim_value)
    # One that is not even named is like no other.
    return str(dimension.dim_param) or f"unknown size of {value}"


def is_taken_apart(
    node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], masks: AttentionMasks
) -> bool:
    """Whether an Attention is three layers and a MultiHeadAttention that computes the same.

    Args:
        node: an Attention of ONNX Runtime's.
        shapes: of the parameters, by name.
        masks: what is known of masks.
    """
    found = attributes(node)
    weight, bias = shapes.get(node.input[WEIGHT], ()), _given(node, BIAS)
    if (
        node.input[0] in shapes
        or len(weight) != 2
        or sum(_sizes_of_parts(node, weight)) != weight[1]
    ):
        return False
    if bias and shapes.get(bias) != weight[1:]:
        return False
    with_past = (
        _given(node, PAST)
        or _given(node, PAST_LENGTH)
        or any(node.output[1:])
        or any(found.get(name, 0) for name in ("do_rotary", "past_present_share_buffer"))
    )
    mask = _given(node, MASK)
    return not with_past and (not mask or masks.fits(mask))


def _given(node: onnx.NodeProto, position: int) -> str:
    """An optional input; "" where it is left out."""
    return node.input[position] if len(node.input) > position else ""


def _sizes_of_parts(node: onnx.NodeProto, weight: tuple[int, ...]) -> list[int]:
    sizes = attributes(node).get("qkv_hidden_sizes")
    return list(sizes) if sizes else [weight[1] // len(PARTS)] * len(PARTS)


def attention_apart(
    node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]], names: NewNames
) -> list[onnx.NodeProto]:
    """Three products, each with its part of the weight and of the bias, and what attends.

    Args:
        node: an Attention that can be taken apart.
        shapes: of the parameters, by name.
        names: gives the new values their names.
    """
    output, bias = node.output[0], _given(node, BIAS)
    sizes = names.new(f"{output}/sizes")
    lengths = np.array(_sizes_of_parts(node, shapes[node.input[WEIGHT]]), np.int64)
    nodes = [helper.make_node("Constant", [], [sizes], value=numpy_helper.from_array(lengths))]

    def parts(parameter: str, axis: int, what: str) -> list[str]:
        new = [names.new(f"{output}/{role}/{what}") for role in PARTS]
        nodes.append(helper.make_node("Split", [parameter, sizes], new, axis=axis))
        return new

    weights = parts(node.input[WEIGHT], 1, "weight")
    biases = parts(bias, 0, "bias") if bias else []
    projections = []
    for position, role in enumerate(PARTS):
        value, name = names.new(f"{output}/{role}"), f"{node_name(node)}.{role}"
        inputs = [node.input[0], weights[position]]
        nodes.append(helper.make_node("MatMul", inputs, [value], name=name))
        if bias:
            total = names.new(f"{output}/{role}/sum")
            nodes.append(helper.make_node("Add", [value, biases[position]], [total]))
            value = total
        projections.append(value)
    inputs = [*projections, "", _given(node, MASK), _given(node, ATTENTION_BIAS)]
    found = attributes(node)
    kept = {name: found[name] for name in SHARED_ATTRIBUTES if name in found}
    attending = helper.make_node(
        "MultiHeadAttention", inputs, [output], name=node.name, domain=MICROSOFT_DOMAIN, **kept
    )
    return [*nodes, attending]
