"""The values of a graph that depend on the data."""

from __future__ import annotations

from lsuv_cli.graph.nodes import values_read
from lsuv_cli.reading.model import OnnxModel


def values_from_inputs(model: OnnxModel) -> set[str]:
    """Return the values of the main graph that depend on its inputs, these included."""
    values = {spec.name for spec in model.inputs}
    for node in model.nodes:
        if values.intersection(values_read(node)):
            values.update(node.output)
    return values
