"""Arithmetic on sizes, some of which are not known, one operator at a time.

What an operator means, in each version, is left to `onnx.reference`. Only which elements of its
output are known has rules here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

# Operators that only move the elements of their first input; Concat does so with all its inputs.
MOVERS = frozenset(("Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"))
ARITHMETIC = frozenset(
    (
        *("Abs", "Add", "And", "Cast", "Ceil", "Constant", "Div", "Equal"),
        *("Floor", "Greater", "Less", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow"),
        *("ReduceProd", "ReduceSum", "Round", "Sqrt", "Sub", "Where"),
    )
)
# Sizes and limits are few numbers; what is longer is data.
MOST_ELEMENTS = 64


@dataclass(frozen=True, slots=True)
class PartlyKnown:
    """An array of sizes, or of what is computed from sizes.

    Attributes:
        values: the array; elements that are not known are 1.
        known: of the same shape; says which are known.
    """

    values: NDArray[Any]
    known: NDArray[np.bool_]

    @property
    def is_known(self) -> bool:
        """Whether every element is known."""
        return bool(self.known.all())


def all_known(values: NDArray[Any]) -> PartlyKnown:
    """Return an array of which every element is known."""
    return PartlyKnown(values, np.ones(values.shape, np.bool_))


def evaluate(
    node: onnx.NodeProto, inputs: Mapping[str, PartlyKnown], opset: int
) -> PartlyKnown | None:
    """Return the first output of an operator of `MOVERS` or `ARITHMETIC`.

    Args:
        node: the operator.
        inputs: its inputs by name.
        opset: the version of the default operator set.

    Returns:
        None where it can't be evaluated, where an element that it computes with is not known, or
        where there are too many elements to be sizes.
    """
    moved = _moved(node)
    if any(not array.is_known for name, array in inputs.items() if name not in moved):
        return None
    feeds = {name: array.values for name, array in inputs.items()}
    values = _run(node, feeds, opset)
    if values is None or values.size > MOST_ELEMENTS:
        return None
    if all(array.is_known for array in inputs.values()):
        return all_known(values)
    # Whether an element is known goes where the element goes.
    marks = {name: inputs[name].known.astype(np.int64) for name in moved}
    known = _run(node, feeds | marks, opset)
    return None if known is None else PartlyKnown(values, known.astype(np.bool_))


def _moved(node: onnx.NodeProto) -> list[str]:
    """Return the inputs of an operator whose elements it only moves."""
    if node.op_type == "Concat":
        return list(node.input)
    first, *others = node.input or [""]
    return [first] if node.op_type in MOVERS and first not in others else []


def _run(node: onnx.NodeProto, feeds: dict[str, NDArray[Any]], opset: int) -> NDArray[Any] | None:
    from onnx.reference import ReferenceEvaluator  # takes a tenth of a second

    try:
        evaluator = ReferenceEvaluator(node, opsets={"": opset})
        with np.errstate(all="raise"):
            made: Any = evaluator.run(None, feeds)
        return np.asarray(made[0])
    except Exception:  # noqa: BLE001 - whatever it can't evaluate is not known
        return None
