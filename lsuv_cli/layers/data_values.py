"""The values of a graph that depend on the data, and those that no data reaches."""

from __future__ import annotations

from lsuv_cli.graph.dataflow import values_from
from lsuv_cli.graph.nodes import values_read
from lsuv_cli.passes.unroll import NO_DATA_VALUE
from lsuv_cli.reading.model import OnnxModel


def values_from_inputs(model: OnnxModel) -> set[str]:
    """Return the values of the main graph that depend on its inputs, these included.

    What depends on their sizes alone, as a parameter repeated for each sample, is not among them.
    """
    return values_from((spec.name for spec in model.inputs), model.nodes)


def values_without_data(model: OnnxModel) -> set[str]:
    """Return the values of the branches that no samples take."""
    values: set[str] = set()
    for node in model.nodes:
        is_placeholder = node.op_type == "Constant" and node.output[0].startswith(NO_DATA_VALUE)
        if is_placeholder or values.intersection(values_read(node)):
            values.update(node.output)
    return values - {""}
