"""ONNX Runtime's fused attention, with the three projections before it taken out.

`Attention` multiplies by the weights of queries, keys and values, which are side by side in one
parameter, and attends; `MultiHeadAttention` only attends. On the CPU both run the same code for
that.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import MICROSOFT_DOMAIN, attributes, node_name
from lsuv_cli.passes.attention_masks import AttentionMasks
from lsuv_cli.passes.packed_projections import ROLES
from lsuv_cli.passes.pipeline import Pass

# Attention's inputs by position.
WEIGHT, BIAS, MASK, PAST, ATTENTION_BIAS, PAST_LENGTH = range(1, 7)
# Attributes with the same meaning in both operators.
SHARED_ATTRIBUTES = ("num_heads", "scale", "unidirectional", "mask_filter_value")


def separate_attention(graph: EditableGraph) -> None:
    """Replace each Attention that is three layers and a MultiHeadAttention by these."""
    masks = AttentionMasks(graph.model)
    for node in graph.nodes:
        is_fused = node.op_type == "Attention" and node.domain == MICROSOFT_DOMAIN
        if is_fused and _is_separable(node, graph, masks):
            graph.replace(node, _separated(node, graph))


def _is_separable(node: onnx.NodeProto, graph: EditableGraph, masks: AttentionMasks) -> bool:
    """Say whether an Attention is three layers and a MultiHeadAttention that computes the same."""
    found = attributes(node)
    weight, bias = graph.shape(node.input[WEIGHT]) or (), _given(node, BIAS)
    if (
        graph.is_weight(node.input[0])
        or len(weight) != 2
        or sum(_sizes_of_parts(node, weight)) != weight[1]
    ):
        return False
    if bias and graph.shape(bias) != weight[1:]:
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
    """Return an optional input; "" where it is left out."""
    return node.input[position] if len(node.input) > position else ""


def _sizes_of_parts(node: onnx.NodeProto, weight: Sequence[int]) -> list[int]:
    sizes = attributes(node).get("qkv_hidden_sizes")
    return list(sizes) if sizes else [weight[1] // len(ROLES)] * len(ROLES)


def _separated(node: onnx.NodeProto, graph: EditableGraph) -> list[onnx.NodeProto]:
    """Return three products, each with its part of weight and bias, and what attends."""
    new, bias = graph.new_nodes(node.output[0]), _given(node, BIAS)
    lengths = _sizes_of_parts(node, graph.shape(node.input[WEIGHT]) or ())
    sizes = new.integers(lengths, "sizes")
    weights = new.parts(node.input[WEIGHT], sizes, [f"{role}/weight" for role in ROLES], axis=1)
    biases = new.parts(bias, sizes, [f"{role}/bias" for role in ROLES], axis=0) if bias else []
    projections = []
    for position, role in enumerate(ROLES):
        inputs = [node.input[0], weights[position]]
        value = new.node("MatMul", inputs, role, name=f"{node_name(node)}.{role}")
        if bias:
            value = new.node("Add", [value, biases[position]], f"{role}/sum")
        projections.append(value)
    found = attributes(node)
    new.node(
        "MultiHeadAttention",
        [*projections, "", _given(node, MASK), _given(node, ATTENTION_BIAS)],
        output=node.output[0],
        name=node.name,
        domain=MICROSOFT_DOMAIN,
        **{name: found[name] for name in SHARED_ATTRIBUTES if name in found},
    )
    return new.nodes


PASS = Pass("fused_attention", separate_attention)
