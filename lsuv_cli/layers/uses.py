"""Which nodes read a value, and which values depend on the model's inputs."""

from __future__ import annotations

from collections import defaultdict

import onnx

from lsuv_cli.graph.nodes import values_read
from lsuv_cli.graph.views import overlap
from lsuv_cli.reading.model import OnnxModel


class Uses:
    """Who reads which value; of a parameter, through whatever view."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.nodes:
            for name in sorted(values_read(node)):
                self.consumers[name].append(node)
        self.names: dict[str, list[str]] = defaultdict(list)
        for name in model.weight_values:
            self.names[model.view(name).parameter].append(name)

    def related(self, name: str) -> list[str]:
        """The names under which some element of a parameter's view is read, its own included."""
        view = self.model.view(name)
        shape = self.model.parameters[view.parameter].shape
        return [
            other
            for other in self.names[view.parameter]
            if other == name or overlap(view, self.model.view(other), shape)
        ]

    def count(self, name: str) -> int:
        """How often it is read; by a body inside a node counts as once."""
        return sum(
            max(1, list(node.input).count(other))
            for other in self.related(name)
            for node in self.consumers[other]
        )

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read it."""
        return [node for other in self.related(name) for node in self.consumers[other]]

    def described(self, name: str) -> str:
        """The parameter that it shows, and which part of it where it is not the whole."""
        view = self.model.view(name)
        return view.parameter + view.part


def values_from_inputs(model: OnnxModel) -> set[str]:
    """The values of the main graph that depend on what is fed."""
    values = {spec.name for spec in model.inputs}
    for node in model.nodes:
        if values.intersection(values_read(node)):
            values.update(node.output)
    return values
