"""Normal form of a graph: each layer is one node that reads its weight directly.

Whatever an exporter put in between is resolved by passes, in the order of `PASSES`.
"""

from __future__ import annotations

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.passes import (
    activations,
    chosen_matrices,
    computed_biases,
    computed_weights,
    computing_types,
    constant_parameters,
    einsum,
    einsum_pairs,
    fused_attention,
    fused_biases,
    fused_products,
    gemm_addends,
    identity_copies,
    inference_mode,
    keras_sharing,
    late_biases,
    packed_projections,
    rearrangements,
    recurrent,
    repeated_calls,
    split_sequences,
    stacked_matrices,
    torch_constants,
    torch_sharing,
    torch_tensors,
    torch_ties,
    transposed_embeddings,
    unit_factors,
)
from lsuv_cli.passes.pipeline import Pass, run_passes

# In the order in which they run.
PASSES: tuple[Pass, ...] = (
    fused_attention.PASS,
    fused_biases.PASS,
    fused_products.PASS,
    constant_parameters.PASS,
    torch_constants.PASS,
    identity_copies.PASS,
    torch_tensors.PASS,
    torch_ties.PASS,
    torch_sharing.PASS,
    keras_sharing.PASS,
    split_sequences.PASS,
    unit_factors.PASS,
    rearrangements.PASS,
    transposed_embeddings.PASS,
    repeated_calls.PASS,
    einsum_pairs.PASS,
    einsum.PASS,
    chosen_matrices.PASS,
    stacked_matrices.PASS,
    packed_projections.PASS,
    late_biases.PASS,
    recurrent.PASS,
    gemm_addends.PASS,
    inference_mode.PASS,
    activations.PASS,
    computed_weights.PASS,
    computed_biases.PASS,
    computing_types.PASS,
)

SHARING: tuple[Pass, ...] = tuple(one for one in PASSES if one.separates)


def normal_form(source: ModelSource) -> EditableGraph:
    """Bring a model's main graph to normal form.

    Args:
        source: the model file, read; not modified.

    Returns:
        The graph, its nodes written to its model, a copy of the source's skeleton.

    Raises:
        ModelError: the graph is broken.
    """
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(source.skeleton)
    graph = EditableGraph(skeleton, source.parameters, source.path, source.opset, source.signature)
    graph.fixed.update(source.fixed)
    graph.trained = source.trained
    graph.ties_are_known = source.ties_are_known
    graph.keeps_ties = source.keeps_ties
    run_passes(PASSES, graph)
    graph.write_nodes()
    return graph


def separate_shared(graph: EditableGraph) -> None:
    """Have parameters that an exporter stored once, being equal, be several again."""
    run_passes(SHARING, graph)
