"""One run of a graph over one batch."""

from __future__ import annotations

import numpy as np

from lsuv_cli.core.measurements import InstrumentedGraph
from lsuv_cli.core.records import Feeds
from lsuv_cli.runtime.devices import Device
from lsuv_cli.runtime.session import Session


def run_once(graph: InstrumentedGraph, feeds: Feeds, device: Device) -> Feeds:
    """Run a graph over one batch, and fetch the values it carries to the next segment.

    Args:
        graph: the graph; its taps are left alone.
        feeds: an array for each of its inputs; others are passed over.
        device: where it runs.

    Raises:
        ModelError: ONNX Runtime can't load the graph.
        DataError: the graph does not take the feeds, or memory ran out.
    """
    if not graph.carried:
        return {}
    outputs = list(dict.fromkeys(graph.carried.values()))
    with Session(graph.model, graph.initializers, device) as session:
        fetched = session.run(outputs, feeds)
    return {name: np.asarray(fetched[output]) for name, output in graph.carried.items()}
