"""The graph of a sweep under construction, which all kinds of step share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from lsuv_cli.core.indices import TapKey
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.measurements import Tap
from lsuv_cli.graph.builder import GraphBuilder, GraphValue
from lsuv_cli.instrument.graph_scales import GraphScales
from lsuv_cli.instrument.graph_values import GraphValues
from lsuv_cli.instrument.segments import Segment
from lsuv_cli.instrument.state import SweepState, SweptModel
from lsuv_cli.instrument.steps import StepKind
from lsuv_cli.layers.layer_node import LayerNode


class SweepContext:
    """The graph of a sweep under construction.

    Attributes:
        swept: the model and its plan.
        weights: a value for each floating-point initializer.
        segment: the part of the model to sweep.
        state: that before the steps that are being added.
        builder: the new graph.
        values: the names in the new graph of the model's values, and the scales pending on them.
        scales: the layers' scales as values of the new graph.
        taps: where the moments of each tapped value are fetched.
        product_moments: the moments of each convolution's product, by the product's name.
    """

    def __init__(
        self,
        swept: SweptModel,
        weights: Mapping[str, FloatArray],
        segment: Segment,
        state: SweepState,
    ) -> None:
        """Begin without a node.

        Args:
            swept: the model and its plan.
            weights: a value for each floating-point initializer.
            segment: the part of the model to sweep.
            state: that before the first step.
        """
        self.swept = swept
        self.weights = weights
        self.segment = segment
        self.builder = GraphBuilder(swept.model.opset)
        self.values = GraphValues(
            self.builder, state.pending_scales, swept.dtype, cautious=segment.cautious
        )
        self.taps: dict[TapKey, Tap] = {}
        self.product_moments: dict[str, GraphValue] = {}
        self._active = [step.layer for step in segment.steps if step.kind is StepKind.PRODUCT]
        self.enter(state)

    def enter(self, state: SweepState) -> None:
        """Go on in another state."""
        self.state = state
        self.scales = GraphScales(self.builder, self.swept, self.weights, state, self._active)

    def scaled(self, name: str) -> str:
        """Return the name in the graph of a value of the model, its pending scale applied.

        Raises:
            ScaleUnknownError: the scale is not known yet.
        """
        return self.values.scaled(name, self.scales)

    def deferred(self, name: str) -> str:
        """Return the name in the graph of a value, unscaled where its scale may be deferred.

        Raises:
            ScaleUnknownError: it may not, and the scale is not known yet.
        """
        return self.values.deferred(name, self.scales)

    def append(self, node: onnx.NodeProto, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        """Append one of the model's nodes with other inputs and outputs."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.input[:], copy.output[:]
        copy.input.extend(inputs)
        copy.output.extend(outputs)
        self.builder.nodes.append(copy)


def channel_shape(layer_node: LayerNode) -> tuple[int, ...]:
    """Return the shape in which (c,) broadcasts against the layer's output."""
    return (layer_node.layer.layout.out_channels, *(1,) * (-layer_node.channel_axis - 1))
