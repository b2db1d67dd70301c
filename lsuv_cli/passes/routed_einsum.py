"""An Einsum of data and chosen matrices, by what becomes of its axes."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from lsuv_cli.graph.new_nodes import NewNodes
from lsuv_cli.graph.nodes import attributes
from lsuv_cli.passes.added_vectors import CHANNELS, ROWS, Label
from lsuv_cli.passes.chosen_values import Chosen, IndexAxis, ParameterAxis
from lsuv_cli.passes.einsum_product import ELLIPSIS, einsum_terms, only


@dataclass(frozen=True, slots=True)
class RoutedEinsum:
    """The labels of an Einsum's data and output, by what becomes of them.

    Attributes:
        data: the data's labels, in order.
        out: the output's labels, in order.
        index: the labels of the choices, in the order of the index's axes.
        kept: the label of data and output alone, the rows; "" without one.
        inputs: the label of a matrix's inputs.
        outputs: the label of a matrix's outputs.
        axes: the axes of the parameter that these two are.
    """

    data: str
    out: str
    index: str
    kept: str
    inputs: str
    outputs: str
    axes: tuple[int, int]

    @property
    def labels(self) -> tuple[Label, ...]:
        """The meaning of the output's axes; see `Chosen`."""
        meant: dict[str, Label] = {
            label: IndexAxis(place) for place, label in enumerate(self.index)
        }
        meant |= {self.outputs: CHANNELS, self.kept: ROWS}
        return tuple(meant[label] for label in self.out)

    def before(self, new: NewNodes, data: str) -> str:
        """Append what brings the data's axes in the order (choices, rows, inputs)."""
        wanted = self.index + self.kept + self.inputs
        present = only(wanted, without=only(wanted, without=self.data))
        if present != self.data:
            order = [self.data.index(label) for label in present]
            data = new.node("Transpose", [data], "ordered", perm=order)
        for place, label in enumerate(self.index):
            if label not in self.data:
                data = new.unsqueeze(data, place)
        return data if self.kept else new.unsqueeze(data, -2)

    def behind(self, new: NewNodes, made: str) -> str:
        """Append what makes the output of (choices, rows, outputs)."""
        if not self.kept:
            made = new.squeeze(made, -2, "squeezed")
        labels = self.index + self.kept + self.outputs
        summed = [place for place, label in enumerate(labels) if label not in self.out]
        if summed:
            made = new.reduce_sum(made, summed, "sum")
            labels = only(labels, without=only(labels, without=self.out))
        if labels != self.out:
            made = new.node(
                "Transpose", [made], "ordered", perm=[labels.index(label) for label in self.out]
            )
        return made


def routed_einsum(node: onnx.NodeProto, chosen: Chosen, *, is_first: bool) -> RoutedEinsum | None:
    """Read an Einsum of two operands; None where it is no product with chosen matrices.

    Args:
        node: the Einsum.
        chosen: how one operand is chosen.
        is_first: whether that is the first one.
    """
    terms = einsum_terms(attributes(node)["equation"].decode())
    if terms is None or ELLIPSIS in "".join(terms):
        return None
    *operands, out = terms
    factor, data = operands[:: 1 if is_first else -1]
    if len(factor) != len(chosen.labels) or None in chosen.labels:
        return None
    index: dict[int, str] = {}
    matrix: dict[str, int] = {}
    for meant, label in zip(chosen.labels, factor, strict=True):
        if isinstance(meant, IndexAxis):
            index[meant.axis] = label
        elif isinstance(meant, ParameterAxis):
            matrix[label] = meant.axis
    choices = "".join(index[axis] for axis in sorted(index))
    inputs = "".join(label for label in matrix if label in data and label not in out)
    outputs = "".join(label for label in matrix if label in out and label not in data)
    kept = only(data, without=choices + inputs)
    if not (len(inputs) == len(outputs) == 1 and len(kept) <= 1 and kept in out):
        return None
    if only(out, without=choices + kept + outputs):
        return None
    axes = (matrix[inputs], matrix[outputs])
    return RoutedEinsum(data, out, choices, kept, inputs, outputs, axes)
