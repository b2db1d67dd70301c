"""All samples in one batch: one session, one run."""

from __future__ import annotations

from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Feeds, InstrumentedGraph, Reading
from lsuv_cli.sweep.session import Device, Session


def run_graph(graph: InstrumentedGraph, feeds: Feeds, device: Device) -> dict[int, Reading]:
    """Run an instrumented graph once over one batch.

    Returns:
        For each measured layer's index its reading, in execution order.

    Raises:
        ModelError: ONNX Runtime can't load the graph.
        DataError: the graph does not take the feeds, or memory ran out.
    """
    if not graph.taps:
        return {}
    with Session(graph.model, graph.initializers, device) as session:
        fetched = session.run([tap.output for tap in graph.taps.values()], feeds)
    count = len(next(iter(feeds.values())))
    readings = {}
    for index, tap in graph.taps.items():
        mean, mean_square = fetched[tap.output]
        readings[index] = Reading(Moments(count, mean, mean_square), tap.incoming)
    return readings
