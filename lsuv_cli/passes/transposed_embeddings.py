"""Parameters that are the transpose of an embedding, stored once more: they are tied again."""

from __future__ import annotations

import numpy as np

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.torch_origin import is_uniform
from lsuv_cli.graph.views import Transposed, View
from lsuv_cli.passes.pipeline import Pass


def tie_transposed_embeddings(graph: EditableGraph) -> None:
    """Tie each output projection with the embedding whose transpose it is.

    An exporter that folds constants stores an embedding, and the output projection that is tied
    with it, as two parameters.
    """
    nodes, stored = graph.nodes, graph.stored
    embeddings = dict.fromkeys(node.input[0] for node in nodes if node.op_type == "Gather")
    factors = {name for node in nodes if node.op_type == "MatMul" for name in node.input}
    tied = {
        name: embedding
        for embedding in embeddings
        if embedding in stored
        for name in sorted(factors & stored.keys() - graph.views.keys())
        if stored[name].info.shape == stored[embedding].info.shape[::-1] != ()
        and _is_transpose(stored[name].read(), stored[embedding].read())
    }
    for name, embedding in tied.items():
        graph.tie(name, View(embedding, (Transposed((1, 0)),)))


def _is_transpose(one: FloatArray, other: FloatArray) -> bool:
    return not is_uniform(other) and np.array_equal(one, other.T)


PASS = Pass("transposed_embeddings", tie_transposed_embeddings, requires=("rearrangements",))
