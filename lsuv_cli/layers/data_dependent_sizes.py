"""Values whose sizes depend on what the samples hold, not only on how many there are."""

from __future__ import annotations

import onnx

from lsuv_cli.graph.dataflow import SIZE_READERS
from lsuv_cli.graph.nodes import bodies, values_read
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.reading.model import OnnxModel

# Their outputs have the shape of the first input, however many elements the others put into it.
SHAPED_LIKE_FIRST = ("Scatter", "ScatterElements", "ScatterND")


def values_of_data_dependent_size(model: OnnxModel) -> set[str]:
    """Return the values of the main graph that may differ in size from batch to batch.

    They come from NonZero and the like, such as the rows that a mixture sends to one expert. All
    other values have equally many elements for each sample. A value that is returned may still
    turn out to have that, too: what follows from a size that depends on the data is returned as a
    whole.
    """
    sizes = _Sizes({spec.name for spec in model.inputs})
    for node in model.nodes:
        sizes.add(node)
    return sizes.dependent


class _Sizes:
    """Follows through a graph which values and which sizes depend on the data.

    Attributes:
        dependent: the values whose sizes depend on what the data hold.
    """

    def __init__(self, inputs: set[str]) -> None:
        self.dependent: set[str] = set()
        self._data = set(inputs)  # the values that depend on what the data hold

    def add(self, node: onnx.NodeProto) -> None:
        """Take the next node, in execution order."""
        made = [name for name in node.output if name]
        read = values_read(node)
        if node.op_type in SIZE_READERS:
            if not read.isdisjoint(self.dependent):
                self._data.update(made)
            return
        if self._is_sized_by_data(node, read):
            self.dependent.update(made)
        if not read.isdisjoint(self._data) or not read.isdisjoint(self.dependent):
            self._data.update(made)

    def _is_sized_by_data(self, node: onnx.NodeProto, read: set[str]) -> bool:
        if bodies(node):
            return not read.isdisjoint(self._data)
        if node.op_type in SHAPED_LIKE_FIRST:
            return node.input[0] in self.dependent
        sizing = [node.input[i] for i in operator_of(node).sized_by if i < len(node.input)]
        return not (read.isdisjoint(self.dependent) and self._data.isdisjoint(sizing))
