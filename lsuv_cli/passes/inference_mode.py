"""BatchNormalization in training mode, set to inference."""

from __future__ import annotations

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS
from lsuv_cli.passes.pipeline import Pass


def leave_training_mode(graph: EditableGraph) -> None:
    """Have each BatchNormalization use its running statistics, and no longer compute new ones."""
    for node in graph.nodes:
        if node.op_type == "BatchNormalization" and node.domain in DEFAULT_DOMAINS:
            for attribute in node.attribute:
                if attribute.name == "training_mode":
                    attribute.i = 0
            graph.drop_outputs(node, 1)


PASS = Pass("inference_mode", leave_training_mode)
