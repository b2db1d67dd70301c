"""An Einsum read as a matrix product: its equation's labels, by what becomes of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes

# Stands for the three points, so that each axis or group of axes is one character.
ELLIPSIS = "."
TERM = re.compile(r"[A-Za-z]*\.?[A-Za-z]*")


@dataclass(frozen=True, slots=True)
class EinsumProduct:
    """An Einsum's values, and its labels by what becomes of them.

    Attributes:
        data_name: the value that is multiplied.
        weight_name: the parameter or the view of one.
        data: the data's labels, in order.
        weight: the weight's labels, in order.
        out: the output's labels, in order.
    """

    data_name: str
    weight_name: str
    data: str
    weight: str
    out: str

    @property
    def summed(self) -> str:
        """Labels of the data alone: they are summed before the product."""
        return only(self.data, without=self.weight + self.out)

    @property
    def batch(self) -> str:
        """Labels of data, weight and output: there is one matrix for each index."""
        return "".join(label for label in self.data if label in self.weight and label in self.out)

    @property
    def kept(self) -> str:
        """Labels of data and output alone: the rows."""
        return "".join(
            label for label in self.data if label in self.out and label not in self.weight
        )

    @property
    def contracted(self) -> str:
        """The matrix's inputs, in the weight's order."""
        return only("".join(label for label in self.weight if label in self.data), self.out)

    @property
    def stacked(self) -> str:
        """Labels of weight and output alone that stand before the matrix, as experts do.

        There is one matrix for each index, and all of them multiply the same data.
        """
        before = self.weight[: min(map(self.weight.index, self.contracted))]
        first = only(before, without=self.data)
        return first if len(first) < len(self._new) else first[:-1]

    @property
    def outputs(self) -> str:
        """The matrix's outputs, in the weight's order."""
        return only(self._new, without=self.stacked)

    @property
    def _new(self) -> str:
        return only(self.weight, without=self.data)


def only(labels: str, without: str) -> str:
    """Return the labels that are not among others, in their order."""
    return "".join(label for label in labels if label not in without)


def einsum_product(node: onnx.NodeProto, graph: EditableGraph) -> EinsumProduct | None:
    """Read an Einsum of data and a parameter; None where a node is no such matrix product."""
    if node.op_type != "Einsum" or node.domain not in DEFAULT_DOMAINS or len(node.input) != 2:
        return None
    terms = einsum_terms(attributes(node)["equation"].decode())
    constant = [graph.is_weight(name) for name in node.input]
    if terms is None or sum(constant) != 1:
        return None
    left, right, out = terms
    if constant[0]:
        found = EinsumProduct(node.input[1], node.input[0], right, left, out)
    else:
        found = EinsumProduct(node.input[0], node.input[1], left, right, out)
    summed_weight = set(found.weight) - set(found.data) - set(out)
    made_of_nothing = set(out) - set(found.data) - set(found.weight)
    if summed_weight or made_of_nothing or not (found.contracted and found.kept):
        return None
    if not set(found.weight) - set(found.data):
        return None
    return found if _ellipsis_stays(found) else None


def einsum_terms(equation: str) -> tuple[str, ...] | None:
    """Return the labels of each operand and of the output; None where one has a label twice."""
    operands, arrow, out = equation.replace(" ", "").replace("...", ELLIPSIS).partition("->")
    if not arrow:
        labels = operands.replace(",", "").replace(ELLIPSIS, "")
        if not (labels.islower() or labels.isupper()):
            return None  # which of both cases comes first, runtimes see differently
        once = sorted(label for label in labels if labels.count(label) == 1)
        out = ELLIPSIS * (ELLIPSIS in operands) + "".join(once)
    terms = (*operands.split(","), out)
    if not all(TERM.fullmatch(term) and len(set(term)) == len(term) for term in terms):
        return None
    return terms


def _ellipsis_stays(found: EinsumProduct) -> bool:
    """Return whether the axes of the ellipsis, whose number is unknown, stay in place."""
    if ELLIPSIS not in found.data + found.weight + found.out:
        return True
    return (
        ELLIPSIS in found.kept
        and not found.batch
        and len(found.contracted) == len(found.outputs) == 1
        and only(found.data, found.summed) == found.kept + found.contracted
        and found.out == found.kept + found.stacked + found.outputs
    )
