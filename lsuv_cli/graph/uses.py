"""Use-def index of a graph: the node that makes each value, and the nodes that read it."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from lsuv_cli.graph.nodes import values_read


class Uses:
    """The nodes of a graph in order, and for each value its producer and its readers.

    A node with bodies (If, Loop, Scan) also reads what its bodies capture from outside. The nodes
    must not be changed; `EditableGraph` is an index that follows changes.

    Example:
        >>> from onnx import helper
        >>> nodes = [
        ...     helper.make_node("Relu", ["x"], ["y"]),
        ...     helper.make_node("Mul", ["y", "y"], ["z"]),
        ... ]
        >>> uses = Uses(nodes)
        >>> uses.producer("y").op_type, uses.producer("x")
        ('Relu', None)
        >>> [node.op_type for node in uses.readers("y")], uses.read_count("y")
        (['Mul'], 2)
        >>> uses.only_reader("y").op_type
        'Mul'
    """

    def __init__(self, nodes: Iterable[onnx.NodeProto]) -> None:
        # One slot for each node that was given: what replaces a node later takes its slot, so that
        # positions stay comparable without renumbering.
        self._slots = [[node] for node in nodes]
        # Messages can't be hashed; the slots keep them alive, so that their ids stay theirs.
        self._slot_of: dict[int, int] = {}
        self._producers: dict[str, onnx.NodeProto] = {}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for slot, (node,) in enumerate(self._slots):
            self._index(node, slot)

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes, in order."""
        return [node for slot in self._slots for node in slot]

    def producer(self, value: str) -> onnx.NodeProto | None:
        """Return the node that makes a value; None for an input, a parameter or ""."""
        return self._producers.get(value)

    def readers(self, value: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a value, each once, in order."""
        return sorted(self._readers.get(value, ()), key=self._position)

    def only_reader(self, value: str) -> onnx.NodeProto | None:
        """Return the single node that reads a value; None where none or several do."""
        readers = self._readers.get(value, ())
        return readers[0] if len(readers) == 1 else None

    def read_count(self, value: str) -> int:
        """Count the inputs that are a value; what only a node's bodies capture counts once."""
        return sum(max(1, list(node.input).count(value)) for node in self._readers.get(value, ()))

    def needed(self, values: Iterable[str]) -> list[onnx.NodeProto]:
        """Return the nodes that some values depend on, in order."""
        pending = [self._producers[name] for name in values if name in self._producers]
        needed: dict[int, onnx.NodeProto] = {}
        while pending:
            node = pending.pop()
            if id(node) not in needed:
                needed[id(node)] = node
                pending += [self._producers[n] for n in values_read(node) if n in self._producers]
        return sorted(needed.values(), key=self._position)

    def _position(self, node: onnx.NodeProto) -> tuple[int, int]:
        slot = self._slot_of[id(node)]
        return slot, next(i for i, other in enumerate(self._slots[slot]) if other is node)

    def _index(self, node: onnx.NodeProto, slot: int) -> None:
        self._slot_of[id(node)] = slot
        for name in filter(None, node.output):
            self._producers[name] = node
        for name in values_read(node):
            self._readers.setdefault(name, []).append(node)
