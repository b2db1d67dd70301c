"""The values of a graph that are alive at one time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from lsuv_cli.graph.nodes import values_read


def live_bytes(nodes: Sequence[onnx.NodeProto], sizes: Mapping[str, int]) -> int:
    """Return the most bytes that values take together at one time.

    Each value lives from the node that makes it to its last reader.

    Args:
        nodes: in execution order.
        sizes: bytes of the values; others are passed over.
    """
    last: dict[str, int] = {}
    for number, node in enumerate(nodes):
        last |= dict.fromkeys((*values_read(node), *node.output), number)
    ending: dict[int, list[str]] = {}
    for name, number in last.items():
        ending.setdefault(number, []).append(name)
    alive: dict[str, int] = {}
    most = 0
    for number, node in enumerate(nodes):
        alive |= {name: sizes[name] for name in node.output if name in sizes}
        most = max(most, sum(alive.values()))
        for name in ending.get(number, ()):
            alive.pop(name, None)
    return most
