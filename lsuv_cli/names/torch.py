"""PyTorch's two exporters to ONNX, `torch.onnx.export` with and without `dynamo=True`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lsuv_cli.names.exporter import Exporter, RecoveredNames, Shapes

if TYPE_CHECKING:
    import onnx

    from lsuv_cli.core.layout import TensorInfo
    from lsuv_cli.graph.written_tensors import Naming
    from lsuv_cli.layers.layer_node import LayerNode
    from lsuv_cli.reading.model import OnnxModel


class PyTorch(Exporter):
    """PyTorch, whose names are those of the module's state_dict."""

    word = "torch"
    framework = "PyTorch"

    def wrote(self, model: onnx.ModelProto) -> bool:
        """Return whether one of PyTorch's exporters wrote the model."""
        from lsuv_cli.graph.torch_origin import is_from_torch

        return is_from_torch(model)

    def recover(
        self,
        model: OnnxModel,
        layer_nodes: Sequence[LayerNode],
        parameters: Mapping[str, TensorInfo],
        like: Shapes | None = None,  # noqa: ARG002 - the file alone tells
    ) -> RecoveredNames:
        """Recover names and shapes of the module's state_dict; see `Exporter.recover`."""
        from lsuv_cli.names.torch_exported import exported_names
        from lsuv_cli.names.torch_names import torch_names

        if model.signature is not None:
            return exported_names(model, model.signature, layer_nodes)
        return torch_names(model, layer_nodes, parameters)

    def layer_names(
        self,
        model: OnnxModel,
        layer_nodes: Sequence[LayerNode],
        naming: Naming,
        *,
        names_are_own: bool,
    ) -> Sequence[str]:
        """Return the paths of the layers' modules; see `Exporter.layer_names`."""
        from lsuv_cli.names.torch_paths import layer_paths

        return layer_paths(model, layer_nodes, naming, names_are_own=names_are_own)
