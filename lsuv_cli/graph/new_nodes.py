"""New names and new nodes for a graph that is being rewritten."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from lsuv_cli.graph.constants import constant_node

# From these opsets on an operator has the form that is used here.
AXES_INPUT_OPSET = 13  # Unsqueeze and ReduceSum take their axes as an input
SPLIT_NUM_OUTPUTS_OPSET = 18


class NewNames:
    """Names for new values, none of which the graph has already."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    def new(self, wanted: str) -> str:
        """Return the wanted name, with a number appended if it is taken."""
        candidates = itertools.chain([wanted], (f"{wanted}/{n}" for n in itertools.count(2)))
        name = next(name for name in candidates if name not in self._taken)
        self._taken.add(name)
        return name


class NewNodes:
    """Nodes that take the place of another one, in the order they are appended.

    Attributes:
        nodes: the nodes so far.

    Example:
        >>> new = NewNodes(NewNames(["y", "y/sum"]), opset=17, stem="y")
        >>> total = new.node("Add", ["x", new.constant(np.float32(1), "one")], "sum")
        >>> total
        'y/sum/2'
        >>> new.node("Relu", [total], output="y")
        'y'
        >>> [(node.op_type, list(node.input)) for node in new.nodes]
        [('Constant', []), ('Add', ['x', 'y/one']), ('Relu', ['y/sum/2'])]
    """

    def __init__(self, names: NewNames, opset: int, stem: str) -> None:
        """Begin without nodes.

        Args:
            names: gives the new values their names.
            opset: the version of the default operator set.
            stem: what the names of new values begin with.
        """
        self.nodes: list[onnx.NodeProto] = []
        self._names = names
        self._opset = opset
        self._stem = stem

    def name(self, hint: str) -> str:
        """Return a name for a new value, `stem/hint` if it is free."""
        return self._names.new(f"{self._stem}/{hint}")

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        hint: str = "",
        *,
        output: str = "",
        name: str = "",
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Append a node with one output; return the output's name.

        Args:
            op: the operator.
            inputs: the values it reads.
            hint: the end of the output's name.
            output: the output's whole name, in place of a new one.
            name: the node's name.
            domain: the operator's domain.
            attributes: the operator's attributes.
        """
        made = output or self.name(hint)
        self.nodes.append(
            helper.make_node(op, list(inputs), [made], name=name, domain=domain, **attributes)
        )
        return made

    def constant(self, value: NDArray[Any] | np.generic, hint: str) -> str:
        """Append a Constant node; return its output's name."""
        made = self.name(hint)
        self.nodes.append(constant_node(made, np.asarray(value)))
        return made

    def integers(self, values: Sequence[int], hint: str) -> str:
        """Append a Constant node, int64, shape (len(values),); return its output's name."""
        return self.constant(np.array(values, np.int64), hint)

    def unsqueeze(self, value: str, axis: int, *, output: str = "") -> str:
        """Append the nodes that give a value a new axis of size 1; return the result's name."""
        made = output or self.name("lifted")
        if self._opset < AXES_INPUT_OPSET:
            return self.node("Unsqueeze", [value], output=made, axes=[axis])
        axes = self._names.new(f"{made}/axes")
        self.nodes.append(constant_node(axes, np.array([axis], np.int64)))
        return self.node("Unsqueeze", [value, axes], output=made)

    def squeeze(self, value: str, axis: int, hint: str) -> str:
        """Append a Squeeze that drops an axis of size 1; return the result's name."""
        if self._opset < AXES_INPUT_OPSET:
            return self.node("Squeeze", [value], hint, axes=[axis])
        return self.node("Squeeze", [value, self.integers([axis], "integers")], hint)

    def reduce_sum(self, value: str, axes: Sequence[int], hint: str) -> str:
        """Append a ReduceSum that drops some axes; return the result's name."""
        if self._opset < AXES_INPUT_OPSET:
            return self.node("ReduceSum", [value], hint, axes=list(axes), keepdims=0)
        return self.node("ReduceSum", [value, self.integers(axes, "integers")], hint, keepdims=0)

    def halves(self, value: str, hint: str) -> list[str]:
        """Append a Split of a value's first axis into two equal parts; return their names."""
        outputs = [self.name(hint), self.name(hint)]
        more: dict[str, Any] = {"num_outputs": 2} if self._opset >= SPLIT_NUM_OUTPUTS_OPSET else {}
        self.nodes.append(helper.make_node("Split", [value], outputs, axis=0, **more))
        return outputs

    def parts(self, value: str, sizes: str, hints: Sequence[str], axis: int) -> list[str]:
        """Append a Split of a value along an axis; return the parts' names.

        Args:
            value: the value.
            sizes: the name of an int64 value, the parts' sizes.
            hints: the end of each part's name.
            axis: the axis.
        """
        outputs = [self.name(hint) for hint in hints]
        self.nodes.append(helper.make_node("Split", [value, sizes], outputs, axis=axis))
        return outputs
