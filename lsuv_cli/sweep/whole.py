"""All samples in one batch: one session, one run."""

from __future__ import annotations

from collections.abc import Mapping

from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Feeds, InstrumentedGraph, Reading, Readings, Tap
from lsuv_cli.sweep.session import Device, Session


def run_graph(graph: InstrumentedGraph, feeds: Feeds, samples: int, device: Device) -> Readings:
    """Run an instrumented graph once over one batch.

    Args:
        graph: the graph.
        feeds: an array for each of its inputs; others are passed over.
        samples: samples in the batch.
        device: where it runs.

    Raises:
        ModelError: ONNX Runtime can't load the graph.
        DataError: the graph does not take the feeds, or memory ran out.
    """
    taps = (*graph.taps.values(), *graph.norm_taps.values())
    outputs = dict.fromkeys((*(tap.output for tap in taps), *graph.carried.values()))
    if not outputs:
        return Readings({}, {})
    with Session(graph.model, graph.initializers, device) as session:
        fetched = session.run(list(outputs), feeds)

    def readings(taps: Mapping[int, Tap]) -> dict[int, Reading]:
        return {
            index: Reading(Moments(samples, *fetched[tap.output]), tap.incoming)
            for index, tap in taps.items()
        }

    carried = {name: fetched[output] for name, output in graph.carried.items()}
    return Readings(readings(graph.taps), readings(graph.norm_taps), carried)
