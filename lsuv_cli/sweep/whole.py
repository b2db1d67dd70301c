"""All samples in one batch: one session, one run."""

from __future__ import annotations

from collections.abc import Mapping

from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Feeds, InstrumentedGraph, Reading, Readings, Tap
from lsuv_cli.sweep.session import Device, Session


def run_graph(graph: InstrumentedGraph, feeds: Feeds, device: Device) -> Readings:
    """Run an instrumented graph once over one batch.

    Raises:
        ModelError: ONNX Runtime can't load the graph.
        DataError: the graph does not take the feeds, or memory ran out.
    """
    if not graph.taps:
        return Readings({}, {})
    outputs = [tap.output for taps in (graph.taps, graph.norm_taps) for tap in taps.values()]
    with Session(graph.model, graph.initializers, device) as session:
        fetched = session.run(outputs, feeds)
    count = len(next(iter(feeds.values())))

    def readings(taps: Mapping[int, Tap]) -> dict[int, Reading]:
        return {
            index: Reading(Moments(count, *fetched[tap.output]), tap.incoming)
            for index, tap in taps.items()
        }

    return Readings(readings(graph.taps), readings(graph.norm_taps))
