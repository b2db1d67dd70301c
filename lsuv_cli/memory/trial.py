"""A trial run of a model, on one sample and then on two, that measures its memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lsuv_cli.core.batches import Batches, take_samples
from lsuv_cli.core.errors import DataError, LsuvError
from lsuv_cli.core.indices import by_layer
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.instrument.segments import cut_for_values
from lsuv_cli.instrument.tapped_graph import tapped_graph
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.memory.liveness import computed_use
from lsuv_cli.memory.run_memory import measure_run
from lsuv_cli.memory.use import MemoryUse, line_through
from lsuv_cli.reading.model import OnnxModel

BATCHES = (1, 2)


def memory_use(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    weights: Mapping[str, FloatArray],
    samples: Batches,
    threads: int,
    max_segment_bytes: int,
    limit_bytes: int,
) -> MemoryUse:
    """Return the memory that a model takes while all its layers are measured.

    The model is run on one sample and on two; where both fail, on as many as its file declares.
    Where that fails too, the memory is computed from the shapes that ONNX infers.

    Args:
        model: the model.
        layer_nodes: its layers, in execution order.
        weights: a value for each floating-point parameter.
        samples: one batch.
        threads: threads within an operator; 0 for one per core.
        max_segment_bytes: bytes of weights in one session.
        limit_bytes: two samples are not tried where they would take more.
    """
    trial = _Trial(model, layer_nodes, weights, threads, max_segment_bytes)
    declared = {spec.declared_batch for spec in model.inputs} - {None}
    try:
        used = trial.runs(samples, BATCHES, limit_bytes)
        if not used:
            used = trial.runs(samples, [size for size in declared if size], limit_bytes)
    except (LsuvError, OSError) as error:
        return computed_use(model, samples, f"the trial run failed: {error}")
    if not used:
        return computed_use(model, samples, f"the trial run failed: {trial.problem}")
    names = set.intersection(*(set(one.values) for one in used.values()))
    return MemoryUse(
        line_through({size: one.live for size, one in used.items()}),
        line_through({size: one.peak for size, one in used.items()}),
        line_through({size: one.fed for size, one in used.items()}),
        {
            name: line_through({size: one.values[name] for size, one in used.items()})
            for name in names
        },
    )


@dataclass(slots=True)
class _Used:
    """The bytes that one run takes; see `MemoryUse`."""

    live: int = 0
    peak: int = 0
    fed: int = 0
    values: dict[str, int] = field(default_factory=dict)


class _Trial:
    """Runs a model segment by segment."""

    def __init__(
        self,
        model: OnnxModel,
        layer_nodes: Sequence[LayerNode],
        weights: Mapping[str, FloatArray],
        threads: int,
        max_segment_bytes: int,
    ) -> None:
        self.problem: DataError | None = None
        self._model = model
        self._layer_nodes = layer_nodes
        self._weights = weights
        self._threads = threads
        self._outputs = {
            one.layer.output: index for index, one in by_layer(layer_nodes) if one.is_measurable
        }
        self._segments = cut_for_values(model, self._outputs, max_segment_bytes)

    def runs(self, samples: Batches, sizes: Sequence[int], limit_bytes: int) -> dict[int, _Used]:
        """Return the memory of batches of some sizes, of those that the model can be run on."""
        used: dict[int, _Used] = {}
        for size in sizes:
            # Twice the samples take at most twice the memory.
            if used and 2 * max(one.live + one.fed for one in used.values()) > limit_bytes:
                break
            try:
                used[size] = self._run(take_samples(samples.feeds(0), samples.specs, range(size)))
            except DataError as error:
                self.problem = error
        return used

    def _run(self, feeds: Feeds) -> _Used:
        used = _Used()
        for segment in self._segments:
            made = segment.makes()
            layers = [self._outputs[name] for name in made & self._outputs.keys()]
            specs = {n: InputSpec(n, value.dtype.name, value.shape) for n, value in feeds.items()}
            graph = tapped_graph(
                self._model, self._layer_nodes, self._weights, [segment], specs, layers
            )
            memory, passed_on = measure_run(graph, feeds, self._threads)
            outside = {**feeds, **passed_on}
            used.live = max(used.live, memory.live_bytes)
            used.peak = max(used.peak, memory.peak_bytes)
            used.fed = max(used.fed, sum(value.nbytes for value in outside.values()))
            used.values |= {n: v for n, v in memory.value_bytes.items() if n in made or n in feeds}
            feeds = {n: v for n, v in outside.items() if n in segment.leaving}
        return used
