"""The gates of a recurrent operator, each with its part of the operator's parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import attributes
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.views import View
from lsuv_cli.passes.joined import JoinedValues

# The operators' inputs by position.
DATA, WEIGHT, RECURRENT, BIAS, LENGTHS, STATE, CELL, PEEPHOLE = range(8)


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate of one direction.

    Attributes:
        letter: ONNX's letter for it.
        weight: the view of its input weight, (hidden, inputs).
        recurrent: that of its recurrent matrix, (hidden, hidden).
        input_bias: that of the bias of its input projection, (hidden,); None without biases.
        recurrent_bias: that of the bias of its recurrent product, (hidden,); None without biases.
        dtype: the dtype that the weight is stored in.
        hidden: the size of the state.
    """

    letter: str
    weight: View
    recurrent: View
    input_bias: View | None
    recurrent_bias: View | None
    dtype: np.dtype[np.generic]
    hidden: int


def gates_of(
    node: onnx.NodeProto, joined: JoinedValues, graph: EditableGraph
) -> list[list[Gate]] | None:
    """Return the gates of each direction; None for an operator that can't be taken apart.

    These are operators whose weights are no parameters, with the batch axis first, or with
    coefficients for their activations in two directions.

    Args:
        node: any node.
        joined: the values that are put together from parameters.
        graph: the node's graph.
    """
    letters = operator_of(node).gates
    if not letters:
        return None
    found = attributes(node)
    hidden = int(found.get("hidden_size", 0))
    both = found.get("direction", b"forward") == b"bidirectional"
    coefficients = any(found.get(name) for name in ("activation_alpha", "activation_beta"))
    if found.get("layout", 0) or not hidden or (both and coefficients):
        return None
    if graph.is_weight(node.input[DATA]):
        return None
    bias = node.input[BIAS] if len(node.input) > BIAS else ""
    directions = []
    for direction in range(1 + both):

        def part(value: str, index: int, direction: int = direction) -> View | None:
            return joined.rows(value, direction, index * hidden, (index + 1) * hidden)

        gates = []
        for index, letter in enumerate(letters):
            weight, recurrent = part(node.input[WEIGHT], index), part(node.input[RECURRENT], index)
            input_bias = part(bias, index) if bias else None
            own_bias = part(bias, index + len(letters)) if bias else None
            if weight is None or recurrent is None or (bias and None in (input_bias, own_bias)):
                return None
            dtype = graph.info(weight).dtype
            gates.append(Gate(letter, weight, recurrent, input_bias, own_bias, dtype, hidden))
        directions.append(gates)
    return directions
