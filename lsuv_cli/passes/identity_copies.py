"""Identity nodes on a parameter that stand for another parameter of equal values."""

from __future__ import annotations

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.torch_origin import is_from_torch, is_uniform, scopes
from lsuv_cli.passes.pipeline import Pass


def separate_identities(graph: EditableGraph) -> None:
    """Have the output of an Identity of a stored parameter be a copy of that.

    PyTorch's script exporter stores equal parameters once, with an Identity for each other one;
    tied parameters have one name there and need no Identity. Its other exporter writes an Identity
    where a module copies a value. In a file of another exporter an
    Identity ties two parameters, unless all their elements are equal.
    """
    if graph.keeps_ties:
        return
    from_torch = is_from_torch(graph.model)
    for node in graph.nodes:
        source = node.input[0] if node.op_type == "Identity" else ""
        source = graph.copies.get(source, source)
        if (
            source in graph.stored
            and not scopes(node)
            and (from_torch or is_uniform(graph.stored[source].read()))
        ):
            graph.remove(node)
            graph.add_copy(node.output[0], source)


PASS = Pass("identity_copies", separate_identities, separates=True)
