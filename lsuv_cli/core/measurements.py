"""Graphs that measure, and the moments that they measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lsuv_cli.core.indices import LayerIndex, NormIndex, TapKey, TapKind
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.moments import Moments


@dataclass(frozen=True, slots=True)
class Tap:
    """The output of an instrumented graph that holds the moments of a value.

    Attributes:
        output: the graph output, (2, c) float64: each channel's mean and mean square.
        pending_layers: the layers whose pending scales, multiplied, are that of the measured value;
            empty where it is scaled.
        channels: c.
        count: the graph output that holds the number of elements in each channel, () int64; ""
            where each sample has equally many.
    """

    output: str
    pending_layers: tuple[LayerIndex, ...]
    channels: int
    count: str = ""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph outputs that it consists of."""
        return (self.output, self.count) if self.count else (self.output,)


@dataclass(frozen=True, slots=True)
class InstrumentedGraph:
    """A graph whose outputs are moments instead of activations.

    Attributes:
        model: the serialised ModelProto; its large initializers are references, not bytes.
        initializers: for each such reference its name and value, (shape of the weight) float32.
        taps: where the moments of each tapped value are; those of layers come first.
        carried: the output that holds each of the model's values that is passed on.
    """

    model: bytes
    initializers: Mapping[str, FloatArray]
    taps: Mapping[TapKey, Tap]
    carried: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The moments of a tapped value.

    Attributes:
        moments: of the value as it was measured, which may have a pending scale.
        pending_layers: see `Tap`.
    """

    moments: Moments
    pending_layers: tuple[LayerIndex, ...]


@dataclass(frozen=True, slots=True)
class Measurements:
    """The moments of all values that a graph taps.

    Attributes:
        taps: each tapped value's; those of layers come first, in execution order.
    """

    taps: Mapping[TapKey, Measurement]

    @property
    def layers(self) -> dict[LayerIndex, Measurement]:
        """The measured layers, in execution order."""
        return {LayerIndex(index): one for index, one in self._of(TapKind.LAYER)}

    @property
    def norms(self) -> dict[NormIndex, Measurement]:
        """The inputs of the measured normalisations."""
        return {NormIndex(index): one for index, one in self._of(TapKind.NORM)}

    @property
    def activations(self) -> dict[LayerIndex, Measurement]:
        """The measured activations, by the layer before each."""
        return {LayerIndex(index): one for index, one in self._of(TapKind.ACTIVATION)}

    def _of(self, kind: TapKind) -> Iterator[tuple[int, Measurement]]:
        return ((key.index, one) for key, one in self.taps.items() if key.kind is kind)
