"""Recurrent operators of a model: their matrices, and their parameters in the file."""

from __future__ import annotations

from dataclasses import dataclass

import onnx


@dataclass(frozen=True, slots=True)
class RecurrentMatrix:
    """One gate's recurrent matrix.

    Attributes:
        name: the node's name and the matrix's, `lstm/LSTM.R_i`.
        op: the node's operator.
        node: the first output of the node that multiplies by it.
        weight: the name of its view, (hidden, hidden).
        bias: the name of its bias's view, (hidden,); "" without one, or where it is to stay.
    """

    name: str
    op: str
    node: str
    weight: str
    bias: str


@dataclass(frozen=True, slots=True)
class RecurrentCell:
    """A recurrent operator's parameters, where each is one parameter as a whole.

    Attributes:
        node: the operator as it was.
        weight: the input weights' parameter, (directions, gates x hidden, inputs).
        recurrent: the recurrent matrices', (directions, gates x hidden, hidden).
        bias: the biases', (directions, 2 x gates x hidden); "" without.
    """

    node: onnx.NodeProto
    weight: str
    recurrent: str
    bias: str
