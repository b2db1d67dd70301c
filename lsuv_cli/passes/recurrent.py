"""LSTM, GRU and RNN with their input projections as layers of their own, gate by gate.

Such an operator multiplies its input by the weights of all gates, and its own last output by the
recurrent matrices. Each gate's input projection is a layer like any other: it becomes a MatMul and
an Add in front of the operator, whose own input weight becomes the identity. The recurrent matrices
stay where they are; they are drawn, and never scaled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import node_name
from lsuv_cli.graph.recurrence import RecurrentCell, RecurrentMatrix
from lsuv_cli.graph.views import Transposed, View
from lsuv_cli.passes.joined import JOINING, joined_values
from lsuv_cli.passes.pipeline import Pass
from lsuv_cli.passes.recurrent_gates import (
    BIAS,
    CELL,
    DATA,
    PEEPHOLE,
    RECURRENT,
    STATE,
    WEIGHT,
    Gate,
    gates_of,
)

# The bias of a forget gate keeps it open, so it is not initialised.
FORGET = "f"
# The inputs with one part per direction; sequence lengths hold for both.
DIRECTED = (STATE, CELL, PEEPHOLE)
EYE_OPSET = 9


def project_inputs(graph: EditableGraph) -> None:
    """Write the input projections of recurrent operators as nodes in front of them."""
    joined = joined_values(graph)
    unread: dict[str, None] = {}
    for node in graph.nodes:
        gates = gates_of(node, joined, graph)
        if gates is None:
            continue
        parameters = [name for name in node.input[WEIGHT : BIAS + 1] if name]
        unread |= dict.fromkeys(parameters)
        graph.replace(node, _Projection(node, gates, graph).nodes())
        whole = [graph.view(name) for name in parameters]
        if all(view is not None and not view.steps for view in whole):
            weight, recurrent, bias = [*(view.parameter for view in whole if view), ""][:3]
            graph.recurrent_cells.append(RecurrentCell(node, weight, recurrent, bias))
    graph.remove_unread(unread, JOINING)


class _Projection:
    """Writes a recurrent operator as its input projections and one operator per direction."""

    def __init__(
        self, node: onnx.NodeProto, directions: Sequence[Sequence[Gate]], graph: EditableGraph
    ) -> None:
        self.node = node
        self.directions = directions
        self.graph = graph
        self.new = graph.new_nodes(node.output[0] or next(filter(None, node.output)))

    def nodes(self) -> list[onnx.NodeProto]:
        """Return the nodes; views and recurrent matrices are added to the graph."""
        node = self.node
        if len(self.directions) == 1:
            self._direction(0, list(node.output), dict(enumerate(node.input)))
            return self.new.nodes
        halves = {
            position: self.new.halves(node.input[position], "half")
            for position in DIRECTED
            if len(node.input) > position and node.input[position]
        }
        made: list[list[str]] = []
        for direction in range(len(self.directions)):
            inputs = dict(enumerate(node.input))
            inputs |= {position: names[direction] for position, names in halves.items()}
            outputs = [self.new.name("direction") if name else "" for name in node.output]
            self._direction(direction, outputs, inputs)
            made.append(outputs)
        for position, name in enumerate(node.output):
            if name:
                both = [outputs[position] for outputs in made]
                axis = 1 if position == 0 else 0  # Y is (steps, directions, batch, hidden)
                self.new.node("Concat", both, output=name, axis=axis)
        return self.new.nodes

    def _direction(self, direction: int, outputs: list[str], inputs: dict[int, str]) -> None:
        """Append one direction: the projections of its gates, and the operator behind them."""
        gates = self.directions[direction]
        reverse = "B" if direction else ""
        projections, input_biases, recurrent_biases, matrices = [], [], [], []
        for gate in gates:
            projection, bias = self._project(gate, reverse, inputs[DATA])
            projections.append(projection)
            input_biases.append(bias)
            matrices.append(self._view(gate.recurrent, f"R{reverse}_{gate.letter}"))
            recurrent_biases.append(
                self._view(gate.recurrent_bias, f"Rb{reverse}_{gate.letter}")
                if gate.recurrent_bias is not None
                else self._zeros(gate)
            )
        new = self.new
        inputs[DATA] = new.node("Concat", projections, "projections", axis=-1)
        inputs[WEIGHT] = new.unsqueeze(self._identity(len(gates) * gates[0].hidden), 0)
        inputs[RECURRENT] = new.unsqueeze(new.node("Concat", matrices, "matrices", axis=0), 0)
        if gates[0].input_bias is not None:
            biases = [*input_biases, *recurrent_biases]
            inputs[BIAS] = new.unsqueeze(new.node("Concat", biases, "biases", axis=0), 0)
        self._operator(direction, outputs, [inputs.get(i, "") for i in range(max(inputs) + 1)])
        for gate, matrix, bias in zip(gates, matrices, recurrent_biases, strict=True):
            stays = gate.letter == FORGET or gate.recurrent_bias is None
            self.graph.recurrent_matrices.append(
                RecurrentMatrix(
                    name=f"{node_name(self.node)}.R{reverse}_{gate.letter}",
                    op=self.node.op_type,
                    node=next(filter(None, outputs)),
                    weight=matrix,
                    bias="" if stays else bias,
                )
            )

    def _project(self, gate: Gate, reverse: str, data: str) -> tuple[str, str]:
        """Append a gate's input projection; return it, and the bias that the operator adds."""
        name = f"{node_name(self.node)}.W{reverse}_{gate.letter}"
        turned = View(gate.weight.parameter, (*gate.weight.steps, Transposed((1, 0))))
        weight = self._view(turned, f"W{reverse}_{gate.letter}")
        value = self.new.node("MatMul", [data, weight], "projected", name=name)
        if gate.input_bias is None:
            return value, self._zeros(gate)
        bias = self._view(gate.input_bias, f"Wb{reverse}_{gate.letter}")
        if gate.letter == FORGET:
            return value, bias
        value = self.new.node("Add", [value, bias], "biased", name=f"{name}.bias")
        return value, self._zeros(gate)

    def _operator(self, direction: int, outputs: list[str], inputs: list[str]) -> None:
        """Append the operator for one direction, fed with projected data."""
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
        self.new.nodes.append(node)

    def _view(self, view: View, hint: str) -> str:
        name = self.new.name(hint)
        self.graph.add_view(name, view)
        return name

    def _zeros(self, gate: Gate) -> str:
        return self.new.constant(np.zeros(gate.hidden, gate.dtype), "zeros")

    def _identity(self, size: int) -> str:
        """Append an identity matrix; made in the graph, where it takes no space in the file."""
        dtype = self.directions[0][0].dtype
        if self.graph.opset < EYE_OPSET:
            return self.new.constant(np.eye(size, dtype=dtype), "identity")
        square = self.new.integers([size, size], "shape")
        zeros = self.new.node("ConstantOfShape", [square], "square")
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        return self.new.node("EyeLike", [zeros], "identity", dtype=kind)


PASS = Pass(
    "recurrent",
    project_inputs,
    # A view of a parameter that is tied with another one later would have lost it.
    requires=("rearrangements", "transposed_embeddings", "repeated_calls"),
)
