"""What is done with a model and samples: draw, sweep, scale, measure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lsuv_cli.core.batches import Batches
from lsuv_cli.core.choices import Per
from lsuv_cli.core.group import Group
from lsuv_cli.core.journal import Journal, NoJournal
from lsuv_cli.core.records import Measurement, Plan
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
    """What stays the same while the weights change.

    Attributes:
        model: the model.
        layer_nodes: its layers, in execution order.
        plan: what is done with each.
        norms: batch normalisations that are to use the samples' statistics.
        batches: the samples of this process.
        group: the processes that share the samples.
        store: where batches are kept between segments.
        device: where sessions run.
        max_segment_bytes: bytes of weights in one session.
        journal: what has been measured before.
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
        """Whether all samples are one batch."""
        return self.group.size == 1 and len(self.batches.counts) == 1

    @property
    def measurable(self) -> list[int]:
        """The layers that have an output which depends on the samples."""
        return [
            index
            for index, layer_node in enumerate(self.layer_nodes)
            if layer_node.takes_data and not layer_node.layer.recurrent
        ]

    def data_pass(self, advance: Callable[[int, int], None]) -> DataPass:
        """A new way of the samples through the model."""
        activations = len(self.layer_nodes) + len(self.norms)
        return DataPass(self.batches, self.store, self.group, self.device, activations, advance)

    def ill_conditioned(
        self, readings: Mapping[int, Measurement], centred: Collection[int] = ()
    ) -> frozenset[int]:
        """The layers whose variance, measured in one pass, may have lost digits.

        Args:
            readings: what was measured.
            centred: those of the layers whose channels are going to be centred.
        """
        per_channel = self.plan.per is Per.CHANNEL
        return frozenset(
            index
            for index, reading in readings.items()
            # Not a number is ill-conditioned too.
            if not reading.moments.condition(per_channel=per_channel, centred=index in centred)
            <= MAX_CONDITION
        )

    def ill_conditioned_norms(self, readings: Mapping[int, Measurement]) -> frozenset[int]:
        """The normalisations of which some channel's variance may have lost digits."""
        return frozenset(
            index
            for index, reading in readings.items()
            # A channel that is always zero is not ill-conditioned.
            if not np.all(reading.moments.mean_square <= MAX_CONDITION * reading.moments.variance)
        )
