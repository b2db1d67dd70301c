"""Tensors of an exported module that the file stores in two shapes: one parameter again."""

from __future__ import annotations

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.passes.pipeline import Pass


def tie_rearranged(graph: EditableGraph) -> None:
    """Tie each parameter that is another one rearranged, as an embedding that is also a product.

    Where a model is written with new values, both stay in the file.
    """
    for name, view in graph.rearranged.items():
        graph.tie(name, view)


PASS = Pass("torch_ties", tie_rearranged, requires=("torch_tensors",))
