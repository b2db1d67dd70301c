"""The memory of one run of a graph, read from ONNX Runtime's profile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lsuv_cli.core.measurements import InstrumentedGraph
from lsuv_cli.core.records import Feeds
from lsuv_cli.graph.liveness import live_bytes
from lsuv_cli.runtime.profile import profile_run

NODE = "lsuv:"  # before a node's number

# Bytes that are in use behind a node, as they were asked for; those that it has added; and the most
# that have ever been in use, as the arena counts them.
IN_USE, ADDED, PEAK = "mem_bytes_requested_in_use", "mem_requested_in_use_delta", "mem_in_use_peak"


@dataclass(frozen=True, slots=True)
class RunMemory:
    """The memory of one run, weights not included.

    Attributes:
        live_bytes: the most that the values alive at one time take.
        peak_bytes: the most that was in use, with the operators' own buffers and what the arena
            leaves over at the end of a block.
        value_bytes: the size of each value that a node made or read.
    """

    live_bytes: int
    peak_bytes: int
    value_bytes: Mapping[str, int]


def measure_run(
    graph: InstrumentedGraph, feeds: Feeds, threads: int
) -> tuple[RunMemory, dict[str, NDArray[Any]]]:
    """Run a graph once on the CPU, and measure its memory.

    Without optimisations, so that every value can be seen, and is of the same size whatever the
    processor; what the values take together hardly differs, since taps keep layers from being
    fused with what follows.

    Args:
        graph: the graph.
        feeds: an array for each of its inputs; others are passed over.
        threads: threads within an operator; 0 for one per core.

    Returns:
        The memory, and what the graph passes on.

    Raises:
        ModelError: ONNX Runtime can't load the graph.
        DataError: the graph does not take the feeds, or memory ran out.
        OSError: there is no folder for temporary files, or no room in it.
    """
    proto = onnx.ModelProto.FromString(graph.model)
    for number, node in enumerate(proto.graph.node):
        node.name = f"{NODE}{number}"
    taps = (tap.output for tap in graph.taps.values())
    outputs = list(dict.fromkeys((*taps, *graph.carried.values())))
    serialised = proto.SerializeToString()
    ran, fetched = profile_run(serialised, graph.initializers, outputs, feeds, threads, prefix=NODE)
    passed_on = {name: fetched[output] for name, output in graph.carried.items()}
    return read_profile(ran, proto.graph.node), passed_on


def read_profile(
    ran: Iterable[tuple[str, Mapping[str, Any]]], nodes: Sequence[onnx.NodeProto]
) -> RunMemory:
    """Return the memory of a run, as ONNX Runtime reports it.

    Args:
        ran: for each node that ran its name and what is reported of it.
        nodes: the graph's, each with a name of its own.
    """
    named = {node.name: node for node in nodes}
    sizes: dict[str, int] = {}
    marks: list[tuple[int, int, int]] = []
    for name, report in ran:
        node = named.get(name)
        # ONNX Runtime names the parts of a node that it takes apart, and bodies have nodes, too.
        if node is not None:
            sizes.update(_sizes(node.input, report.get("input_type_shape", ())))
            sizes.update(_sizes(node.output, report.get("output_type_shape", ())))
        if IN_USE in report:
            marks.append((int(report[IN_USE]), int(report[ADDED]), int(report[PEAK])))
    if not marks:
        # Versions before 1.31 report shapes alone.
        live = live_bytes(nodes, sizes)
        return RunMemory(live, live, sizes)
    in_use, added, _ = marks[0]
    before = in_use - added
    most_live, most_used = (max(mark[place] for mark in marks) for place in (0, 2))
    return RunMemory(most_live - before, most_used - before, sizes)


def _sizes(
    names: Iterable[str], tensors: Sequence[Mapping[str, Sequence[int]]]
) -> Iterator[tuple[str, int]]:
    """Yield the bytes of a node's inputs or outputs; nothing where some are not tensors."""
    present = [name for name in names if name]
    if len(present) == len(tensors):
        for name, tensor in zip(present, tensors, strict=True):
            for kind, shape in tensor.items():
                yield name, math.prod(shape) * _item_bytes(kind)


def _item_bytes(kind: str) -> int:
    """Return the bytes of an element, whose type is named as in ONNX but in lower case."""
    number = TensorProto.DataType.Value(kind.upper())
    return int(helper.tensor_dtype_to_np_dtype(number).itemsize)
