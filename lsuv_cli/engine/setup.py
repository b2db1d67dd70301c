"""The inputs of the engine, which stay the same while the weights change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lsuv_cli.core.batches import Batches
from lsuv_cli.core.choices import Bias, Per
from lsuv_cli.core.group import Group
from lsuv_cli.core.indices import LayerIndex, TapKey, by_layer, layer_tap, norm_tap
from lsuv_cli.core.journal import Journal, NoJournal
from lsuv_cli.core.measurements import Measurements
from lsuv_cli.core.records import Plan
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.layers.norms import NormNode
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.runtime.data_pass import DataPass
from lsuv_cli.runtime.devices import Device
from lsuv_cli.runtime.store import ValueStore

# A one-pass variance is trusted while the mean square is at most this many times as large: float32
# planes carry errors near 1e-8 once they are averaged, so the variance is then good to 1e-6.
MAX_CONDITION = 32.0


@dataclass(frozen=True, slots=True)
class Setup:
    """A model, its plan, its samples and the device.

    Attributes:
        model: the model.
        layer_nodes: its layers, in execution order.
        plan: their treatment.
        norms: batch normalisations that are to use the samples' statistics.
        batches: the samples of this process.
        group: the processes that share the samples.
        store: where batches are kept between segments.
        device: where sessions run.
        max_segment_bytes: bytes of weights in one session.
        journal: the measurements of an earlier run, and of this one.
    """

    model: OnnxModel
    layer_nodes: Sequence[LayerNode]
    plan: Plan
    norms: Sequence[NormNode]
    batches: Batches
    group: Group
    store: ValueStore
    device: Device
    max_segment_bytes: int
    journal: Journal = field(default_factory=NoJournal)

    @property
    def single_batch(self) -> bool:
        """Return whether all samples are one batch."""
        return self.group.size == 1 and len(self.batches.counts) == 1

    @property
    def measurable(self) -> list[LayerIndex]:
        """The layers that have an output which depends on the samples."""
        return [
            index for index, layer_node in by_layer(self.layer_nodes) if layer_node.is_measurable
        ]

    def data_pass(self, advance: Callable[[int, int], None]) -> DataPass:
        """Begin to pass all samples through the model."""
        return DataPass(self.batches, self.store, self.group, self.device, advance)

    def ill_conditioned(
        self, measured: Measurements, centred: Collection[LayerIndex] = ()
    ) -> frozenset[TapKey]:
        """Return the taps whose variance, measured in one pass, may have lost digits.

        Of a normalisation, each channel's counts.

        Args:
            measured: the moments.
            centred: the layers whose channels are going to be centred.
        """
        per_channel = self.plan.per is Per.CHANNEL
        layers = (
            layer_tap(index)
            for index, one in measured.layers.items()
            # Not a number is ill-conditioned too.
            if not one.moments.is_empty
            and not one.moments.condition(per_channel=per_channel, centred=index in centred)
            <= MAX_CONDITION
        )
        norms = (
            norm_tap(index)
            for index, one in measured.norms.items()
            # A channel that is always zero is not ill-conditioned.
            if not one.moments.is_empty
            and not np.all(one.moments.mean_square <= MAX_CONDITION * one.moments.variance)
        )
        return frozenset((*layers, *norms))


def without_scaling(plan: Plan) -> Plan:
    """Return a plan by which nothing is scaled, and no bias centred."""
    layers = tuple(
        replace(
            one,
            swept=False,
            needs_more_sweeps=False,
            bias=one.bias if one.bias is Bias.KEEP else Bias.ZERO,
        )
        for one in plan.layers
    )
    return replace(plan, layers=layers)
