"""Values that PyTorch's dynamo exporter has given the names of tensors of the module.

It calls what an operation computes by the operation, as `index`, and a stored tensor by its name in
the module, which may be `index` as well. Its optimiser tells the two apart; without it the file is
not valid, but what each node was given tells which of the two it reads.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from lsuv_cli.graph.new_nodes import NewNames
from lsuv_cli.graph.nodes import names_in
from lsuv_cli.graph.torch_signature import ExportedSignature, operation_of


def rename_clashing(
    graph: onnx.GraphProto, stored: Collection[str], signature: ExportedSignature
) -> None:
    """Rename the values that nodes make under the names of stored tensors.

    Args:
        graph: modified.
        stored: the names of the stored tensors.
        signature: what the file tells about the module.
    """
    made = {name for node in graph.node for name in node.output}
    clashing = sorted(made.intersection(stored))
    if not clashing:
        return
    taken = NewNames(names_in(graph) | set(stored))
    names = {name: taken.new(f"{name}/value") for name in clashing}
    known: dict[str, str] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in known and not _reads_tensor(node, name, signature):
                node.input[position] = known[name]
        for position, name in enumerate(node.output):
            if name in names:
                node.output[position] = known[name] = names[name]
    for value in graph.output:
        value.name = known.get(value.name, value.name)


def _reads_tensor(node: onnx.NodeProto, name: str, signature: ExportedSignature) -> bool:
    """Return whether a node behind such a value was given the tensor instead."""
    operation = operation_of(node)
    if operation is None or name in operation.arguments:
        return False
    return name in signature.tensors_read(operation)
