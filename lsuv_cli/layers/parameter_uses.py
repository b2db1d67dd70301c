"""Uses of parameters: the nodes that read one, through whatever views."""

from __future__ import annotations

from collections import defaultdict

import onnx

from lsuv_cli.graph.overlaps import Overlaps
from lsuv_cli.graph.views import View
from lsuv_cli.reading.model import OnnxModel


class ParameterUses:
    """The nodes of a model that read a weight value, or another one with elements in common.

    Attributes:
        model: the model.
        graph: the producer and the readers of each value of its main graph.
    """

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.graph = model.uses
        views: dict[str, dict[str, View]] = defaultdict(dict)
        for name in model.weight_values:
            view = model.view(name)
            views[view.parameter][name] = view
        self._overlaps = {
            parameter: Overlaps(of_one, model.parameters[parameter].shape)
            for parameter, of_one in views.items()
        }

    def overlapping(self, value: str) -> list[str]:
        """Return the weight values that have elements in common with one, itself included."""
        return self._overlaps[self.model.view(value).parameter].of(value)

    def readers(self, value: str) -> list[onnx.NodeProto]:
        """Return the nodes that read elements of a weight value."""
        return [node for other in self.overlapping(value) for node in self.graph.readers(other)]

    def read_count(self, value: str) -> int:
        """Count the inputs that hold elements of a weight value; see `Uses.read_count`."""
        return sum(self.graph.read_count(other) for other in self.overlapping(value))

    def parameter_name(self, value: str) -> str:
        """Return the name of a weight value's parameter, and the part of it that the value is."""
        view = self.model.view(value)
        return view.parameter + view.part
