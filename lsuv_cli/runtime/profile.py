"""One run of a graph under ONNX Runtime's profiler."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.records import Feeds
from lsuv_cli.runtime.devices import CPU, Device
from lsuv_cli.runtime.session import Session

KERNEL = "_kernel_time"  # behind a node's name


def profile_run(
    model: bytes,
    initializers: Mapping[str, FloatArray],
    outputs: Sequence[str],
    feeds: Feeds,
    threads: int,
    prefix: str,
) -> tuple[list[tuple[str, Mapping[str, Any]]], dict[str, NDArray[Any]]]:
    """Run a graph once on the CPU, as it stands, without optimisations.

    Args:
        model: the graph, serialised.
        initializers: those of its initializers that it only refers to.
        outputs: names of what to fetch.
        feeds: an array for each of its inputs; others are passed over.
        threads: threads within an operator; 0 for one per core.
        prefix: begins the names of the nodes that are reported. Others, such as those in the body
            of a loop, run too often for each run to be read.

    Returns:
        For each such node that ran, in that order, its name and what ONNX Runtime reports of it;
        and the fetched values by name.

    Raises:
        ModelError: ONNX Runtime can't load the graph.
        DataError: the graph does not take the feeds, or memory ran out.
        OSError: there is no folder for temporary files, or no room in it.
    """
    cpu = Device(((CPU, {}),), "cpu", threads)
    # A folder of its own, since ONNX Runtime names the file after the time, to the millisecond.
    with (
        tempfile.TemporaryDirectory(prefix="lsuv-") as folder,
        Session(model, initializers, cpu, profile=Path(folder, "run")) as session,
    ):
        fetched = session.run(outputs, feeds)
        # A line for each event, in brackets; without the last of them it has been cut short.
        with session.end_profiling().open(encoding="utf-8") as file:
            last, events = "", []
            for line in file:
                last = line.strip() or last
                if f'"{prefix}' in line:
                    events.append(line.strip().rstrip(","))
    if not last.endswith("]"):
        raise OSError("the disk has no room for ONNX Runtime's profile")
    read = map(json.loads, events)
    ran = [
        (event["name"].removesuffix(KERNEL), event["args"])
        for event in read
        if event["cat"] == "Node" and event["name"].endswith(KERNEL)
    ]
    return ran, {name: np.asarray(value) for name, value in fetched.items()}
