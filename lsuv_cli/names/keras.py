"""Keras 3's `export` to ONNX, which is tf2onnx's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lsuv_cli.names.exporter import Exporter, RecoveredNames, Shapes, some_of

if TYPE_CHECKING:
    import onnx

    from lsuv_cli.core.layout import TensorInfo
    from lsuv_cli.layers.layer_node import LayerNode
    from lsuv_cli.reading.model import OnnxModel

IN_TRAINING = "give tf2onnx a function that calls the model with training=True to keep it"


class Keras(Exporter):
    """Keras, whose names are the paths of the model's variables."""

    word = "keras"
    framework = "Keras"
    omission = "tf2onnx has left out, as zeros or within constants"

    def wrote(self, model: onnx.ModelProto) -> bool:
        """Return whether tf2onnx wrote the model, by itself or for Keras' `export`."""
        from lsuv_cli.graph.keras_origin import is_from_tf2onnx

        return is_from_tf2onnx(model)

    def recover(
        self,
        model: OnnxModel,
        layer_nodes: Sequence[LayerNode],
        parameters: Mapping[str, TensorInfo],
        like: Shapes | None = None,
    ) -> RecoveredNames:
        """Recover paths and shapes of the model's variables; see `Exporter.recover`."""
        from lsuv_cli.names.keras_paths import keras_names

        if not self.wrote(model.skeleton):
            return RecoveredNames({}, reasons=["tf2onnx did not write it"])
        found = keras_names(model, layer_nodes, parameters, like)
        reasons = []
        if found.folded:
            reasons.append(
                f"BatchNormalization was folded into {some_of(found.folded)}; {IN_TRAINING}"
            )
        if found.lost and like is None:
            reasons.append(f"nothing tells where {some_of(found.lost)} came from")
        elif found.lost:
            reasons.append(f"--like has no path that fits {some_of(found.lost)}")
        if found.ambiguous:
            reasons.append(
                f"nothing says whether {some_of(found.ambiguous)} counts in the paths of Keras' "
                "variables, as a Functional model does not; --like FILE with the paths tells"
            )
        return RecoveredNames(found.naming, reasons=reasons)
