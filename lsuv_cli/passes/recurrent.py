"""LSTM, GRU and RNN with their input projections taken out, gate by gate.

Such an operator multiplies its input by the weights of all gates, and its own last output by the
recurrent matrices. Each gate's input projection is a layer like any other: it becomes a MatMul and
an Add in front of the operator, which then only passes on what it is fed. The recurrent matrices
stay where they are; they are drawn, and never scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.builder import SPLIT_NUM_OUTPUTS_OPSET
from lsuv_cli.graph.nodes import NewNames, attributes, node_name, unsqueeze
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.views import IntegerConstants, Transposed, View
from lsuv_cli.passes.joined import JoinedValues, pieces_of

# A forget gate's bias is there to keep it open; it is left alone.
FORGET = "f"

# The operators' inputs by position.
DATA, WEIGHT, RECURRENT, BIAS, LENGTHS, STATE, CELL, PEEPHOLE = range(8)
# What stands once for each direction; sequence lengths hold for both.
DIRECTED = (STATE, CELL, PEEPHOLE)
EYE_OPSET = 9


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


@dataclass
class Recurrences:
    """What taking recurrent operators apart gave.

    Attributes:
        nodes: the graph's nodes.
        views: the views that the new nodes read.
        matrices: the recurrent matrices, in execution order.
        cells: those whose parameters are whole, for their names.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    views: dict[str, View] = field(default_factory=dict)
    matrices: list[RecurrentMatrix] = field(default_factory=list)
    cells: list[RecurrentCell] = field(default_factory=list)


def project_inputs(
    nodes: Sequence[onnx.NodeProto],
    infos: Mapping[str, TensorInfo],
    views: Mapping[str, View],
    integers: IntegerConstants,
    names: NewNames,
    opset: int,
) -> Recurrences:
    """Take the input projections of recurrent operators out.

    Left as they are: operators whose weights are no parameters, with the batch axis first, or with
    coefficients for their activations in two directions.

    Args:
        nodes: in execution order.
        infos: shape and dtype of each parameter.
        views: the values that only show a parameter.
        integers: the graph's integer constants, by name.
        names: gives the new values their names.
        opset: the version of the default operator set.
    """
    pieces = pieces_of(nodes, infos, views, integers)
    done = Recurrences()
    unread: set[str] = set()
    for node in nodes:
        gates = _gates(node, pieces, infos, views)
        if gates is None:
            done.nodes.append(node)
            continue
        unread.update(name for name in node.input[WEIGHT : BIAS + 1] if name)
        _Projection(node, gates, names, opset, done).append()
        whole = [views.get(name, View(name)) for name in node.input[WEIGHT : BIAS + 1]]
        if all(not view.steps and view.parameter in {*infos, ""} for view in whole):
            weight, recurrent, bias = [*(view.parameter for view in whole), ""][:3]
            done.cells.append(RecurrentCell(node, weight, recurrent, bias))
    done.nodes = pieces.without_unread(done.nodes, unread)
    return done


@dataclass(frozen=True, slots=True)
class _Gate:
    """One gate of one direction: the views of its parameters."""

    letter: str
    weight: View  # (hidden, inputs)
    recurrent: View  # (hidden, hidden)
    input_bias: View | None  # (hidden,)
    recurrent_bias: View | None  # (hidden,)
    dtype: np.dtype[np.generic]
    hidden: int


def _gates(
    node: onnx.NodeProto,
    pieces: JoinedValues,
    infos: Mapping[str, TensorInfo],
    views: Mapping[str, View],
) -> list[list[_Gate]] | None:
    """For each direction the gates; None for what can't be taken apart."""
    letters = operator_of(node).gates
    if not letters:
        return None
    found = attributes(node)
    hidden = int(found.get("hidden_size", 0))
    both = found.get("direction", b"forward") == b"bidirectional"
    coefficients = any(found.get(name) for name in ("activation_alpha", "activation_beta"))
    if found.get("layout", 0) or not hidden or (both and coefficients):
        return None
    if node.input[DATA] in infos or node.input[DATA] in views:
        return None
    bias = node.input[BIAS] if len(node.input) > BIAS else ""
    directions = []
    for direction in range(1 + both):

        def part(value: str, index: int, direction: int = direction) -> View | None:
            return pieces.rows(value, direction, index * hidden, (index + 1) * hidden)

        gates = []
        for index, letter in enumerate(letters):
            weight, recurrent = part(node.input[WEIGHT], index), part(node.input[RECURRENT], index)
            input_bias = part(bias, index) if bias else None
            own_bias = part(bias, index + len(letters)) if bias else None
            if weight is None or recurrent is None or (bias and None in (input_bias, own_bias)):
                return None
            dtype = infos[weight.parameter].dtype
            gates.append(_Gate(letter, weight, recurrent, input_bias, own_bias, dtype, hidden))
        directions.append(gates)
    return directions


class _Projection:
    """Writes a recurrent operator anew, one for each direction, behind its input projections."""

    def __init__(
        self,
        node: onnx.NodeProto,
        directions: Sequence[Sequence[_Gate]],
        names: NewNames,
        opset: int,
        done: Recurrences,
    ) -> None:
        self.node = node
        self.directions = directions
        self.names = names
        self.opset = opset
        self.done = done
        self.stem = node.output[0] or next(filter(None, node.output))

    def append(self) -> None:
        """Append the nodes, views and matrices to what has been done."""
        if len(self.directions) == 1:
            self._direction(0, list(self.node.output), dict(enumerate(self.node.input)))
            return
        parts = {
            position: self._split(self.node.input[position])
            for position in DIRECTED
            if len(self.node.input) > position and self.node.input[position]
        }
        made: list[list[str]] = []
        for direction in range(len(self.directions)):
            inputs = dict(enumerate(self.node.input))
            inputs |= {position: halves[direction] for position, halves in parts.items()}
            outputs = [self._new("direction") if name else "" for name in self.node.output]
            self._direction(direction, outputs, inputs)
            made.append(outputs)
        for position, name in enumerate(self.node.output):
            if name:
                halves = [outputs[position] for outputs in made]
                axis = 1 if position == 0 else 0  # Y is (steps, directions, batch, hidden)
                self.done.nodes.append(helper.make_node("Concat", halves, [name], axis=axis))

    def _new(self, hint: str) -> str:
        return self.names.new(f"{self.stem}/{hint}")

    def _node(self, op: str, inputs: Sequence[str], hint: str, **more: Any) -> str:
        output = self._new(hint)
        self.done.nodes.append(helper.make_node(op, list(inputs), [output], **more))
        return output

    def _split(self, value: str) -> list[str]:
        """The two directions of a state, along its first axis."""
        outputs = [self._new("half"), self._new("half")]
        more: dict[str, Any] = {"num_outputs": 2} if self.opset >= SPLIT_NUM_OUTPUTS_OPSET else {}
        self.done.nodes.append(helper.make_node("Split", [value], outputs, axis=0, **more))
        return outputs

    def _view(self, view: View, hint: str) -> str:
        name = self._new(hint)
        self.done.views[name] = view
        return name

    def _direction(self, direction: int, outputs: list[str], inputs: dict[int, str]) -> None:
        gates = self.directions[direction]
        dtype, hidden = gates[0].dtype, gates[0].hidden
        reverse = "B" if direction else ""
        projections, input_biases, recurrent_biases, matrices = [], [], [], []
        zeros = numpy_helper.from_array(np.zeros(hidden, dtype))
        for gate in gates:
            name = f"{node_name(self.node)}.W{reverse}_{gate.letter}"
            turned = View(gate.weight.parameter, (*gate.weight.steps, Transposed((1, 0))))
            weight = self._view(turned, f"W{reverse}_{gate.letter}")
            value = self._node("MatMul", [inputs[DATA], weight], "projected", name=name)
            kept: str | None = None
            if gate.input_bias is not None:
                bias = self._view(gate.input_bias, f"Wb{reverse}_{gate.letter}")
                if gate.letter == FORGET:
                    kept = bias
                else:
                    value = self._node("Add", [value, bias], "biased", name=f"{name}.bias")
            projections.append(value)
            input_biases.append(kept or self._node("Constant", [], "zeros", value=zeros))
            matrices.append(self._view(gate.recurrent, f"R{reverse}_{gate.letter}"))
            recurrent_biases.append(
                self._view(gate.recurrent_bias, f"Rb{reverse}_{gate.letter}")
                if gate.recurrent_bias is not None
                else self._node("Constant", [], "zeros", value=zeros)
            )
        inputs[DATA] = self._node("Concat", projections, "projections", axis=-1)
        inputs[WEIGHT] = self._lifted(self._identity(len(gates) * hidden, dtype))
        inputs[RECURRENT] = self._lifted(self._node("Concat", matrices, "matrices", axis=0))
        if gates[0].input_bias is not None:
            biases = [*input_biases, *recurrent_biases]
            inputs[BIAS] = self._lifted(self._node("Concat", biases, "biases", axis=0))
        self._operator(direction, outputs, [inputs.get(i, "") for i in range(max(inputs) + 1)])
        first_output = next(filter(None, outputs))
        for gate, matrix, bias in zip(gates, matrices, recurrent_biases, strict=True):
            stays = gate.letter == FORGET or gate.recurrent_bias is None
            name = f"{node_name(self.node)}.R{reverse}_{gate.letter}"
            self.done.matrices.append(
                RecurrentMatrix(
                    name, self.node.op_type, first_output, matrix, "" if stays else bias
                )
            )

    def _operator(self, direction: int, outputs: list[str], inputs: list[str]) -> None:
        node = onnx.NodeProto()
        node.CopyFrom(self.node)
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.extend(outputs)
        if len(self.directions) > 1:
            node.name = f"{node_name(self.node)}.{('forward', 'reverse')[direction]}"
            for attribute in node.attribute:
                if attribute.name == "direction":
                    attribute.s = (b"forward", b"reverse")[direction]
                elif attribute.name == "activations":
                    half = len(attribute.strings) // 2
                    own = attribute.strings[direction * half : (direction + 1) * half]
                    attribute.strings[:] = own
        self.done.nodes.append(node)

    def _identity(self, size: int, dtype: np.dtype[np.generic]) -> str:
        """An identity matrix; made in the graph, where it takes no room in the file."""
        if self.opset < EYE_OPSET:
            value = numpy_helper.from_array(np.eye(size, dtype=dtype))
            return self._node("Constant", [], "identity", value=value)
        shape = numpy_helper.from_array(np.array([size, size], np.int64))
        square = self._node("Constant", [], "shape", value=shape)
        zeros = self._node("ConstantOfShape", [square], "square")
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        return self._node("EyeLike", [zeros], "identity", dtype=kind)

    def _lifted(self, value: str) -> str:
        """A value with an axis for the direction in front."""
        lifted = self._new("lifted")
        self.done.nodes += unsqueeze(value, 0, lifted, self.names, self.opset)
        return lifted
