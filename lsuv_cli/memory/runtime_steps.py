"""What ONNX Runtime does with a graph's nodes on the CPU, as far as memory goes.

Found by measuring it (1.31): the order of the nodes, which of them write into what they read, which
want room besides their outputs, and where the blocked layout of convolutions makes copies.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, bodies, values_read
from lsuv_cli.memory.runtime_operators import (
    ALIASES,
    BLOCK,
    BLOCKED_FOLLOWERS,
    BLOCKED_POOLS,
    GATES,
    MERGED_ACTIVATIONS,
    MERGED_ARITHMETIC,
    OVERWRITERS,
    PLANES_RANK,
    ROOM,
    ROOM_FROM,
    WIDEST_BLOCK,
    blocks_convolution,
)
from lsuv_cli.memory.value_sizes import Size, Sizes

# A value whose name no graph has: what another value becomes in the other layout.
COPY_MARK = "\0copy"


@dataclass(frozen=True, slots=True)
class Step:
    """A node as it runs.

    Attributes:
        reads: the values it reads that are no weights; one that it reads twice comes twice.
        makes: the values it makes, with their sizes as they lie in memory.
        room: what it wants besides while it runs.
        alias: whether what it makes first is the memory of what it reads first.
        overwrites: whether it may be, if nobody reads that later and the sizes agree.
    """

    reads: tuple[str, ...]
    makes: tuple[tuple[str, Size], ...]
    room: Size | None = None
    alias: bool = False
    overwrites: bool = False


def runtime_steps(
    nodes: Sequence[onnx.NodeProto], fetched: Sequence[str], sizes: Sizes
) -> tuple[list[Step], list[str]]:
    """The nodes as ONNX Runtime runs them, with the copies between its two layouts.

    Args:
        nodes: in any order.
        fetched: what is fetched of what they make.
        sizes: of all that they read and make.

    Returns:
        The steps, and the values in them that are fetched.
    """
    walk = _Walk(nodes, sizes)
    for node in runtime_order(nodes):
        walk.node(node)
    kept = [walk.in_layout(name, blocked=False) for name in fetched if name in sizes.values]
    return walk.steps, kept


def runtime_order(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes in the order in which ONNX Runtime runs them.

    It searches depth first from the nodes that nobody reads from, the last of them first, and from
    each node goes to the last of those that it reads from first.
    """
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    sources = [
        sorted({makers[name] for name in values_read(node) if name in makers}) for node in nodes
    ]
    read = {source for found in sources for source in found}
    stack = [(index, False) for index in range(len(nodes)) if index not in read]
    seen: set[int] = set()
    order = []
    while stack:
        index, is_ready = stack.pop()
        if is_ready:
            order.append(nodes[index])
        elif index not in seen:
            seen.add(index)
            stack.append((index, True))
            stack += [(source, False) for source in sources[index] if source not in seen]
    return order


class _Walk:
    """Follows the nodes in running order.

    `blocked` are the values that lie in blocks of channels, `convolved` those that a convolution
    has made and one other node reads, which may become part of it.
    """

    def __init__(self, nodes: Sequence[onnx.NodeProto], sizes: Sizes) -> None:
        self.sizes = sizes
        self.readers = Counter(name for node in nodes for name in _occurrences(node))
        self.steps: list[Step] = []
        self.copied: set[str] = set()
        self.blocked: set[str] = set()
        self.convolved: set[str] = set()

    def node(self, node: onnx.NodeProto) -> None:
        """Append a node's step, behind the copies that it is the first to want."""
        data = [name for name in _occurrences(node) if name in self.sizes.values]
        made = [name for name in node.output if name in self.sizes.values]
        is_convolution = node.op_type == "Conv" and node.input[1] in self.sizes.weights
        host = None if is_convolution else self._host(node, data)
        blocked = self._is_blocked(node, data) if host is None else host in self.blocked
        if host is not None:
            data.remove(host)
            data.insert(0, host)
        # A picture's few channels are read as they are.
        as_it_is = blocked and is_convolution and self._shape(data[0])[1] < BLOCK
        reads = data if as_it_is else [self.in_layout(name, blocked=blocked) for name in data]
        if blocked:
            self.blocked.update(made)
        if host is not None or is_convolution:
            self.convolved.update(name for name in made if self.readers[name] == 1)
        default = node.domain in DEFAULT_DOMAINS
        self.steps.append(
            Step(
                tuple(reads),
                tuple((name, self._size(name)) for name in made),
                self._room(node, data, made),
                alias=host is not None or (default and node.op_type in ALIASES),
                overwrites=default and node.op_type in OVERWRITERS,
            )
        )

    def in_layout(self, name: str, *, blocked: bool) -> str:
        """What holds a value in one of the layouts; a copy where it lies in the other."""
        if (name in self.blocked) == blocked or len(self._shape(name)) != PLANES_RANK:
            return name
        copy = name + COPY_MARK
        if copy not in self.copied:
            self.copied.add(copy)
            size = self._padded(name) if blocked else self.sizes.values[name]
            self.steps.append(Step((name,), ((copy, size),)))
        return copy

    def _host(self, node: onnx.NodeProto, data: Sequence[str]) -> str | None:
        """The output of the convolution that a node becomes part of, if it does."""
        host = next((name for name in data if name in self.convolved), None)
        if host is None or node.domain not in DEFAULT_DOMAINS:
            return None
        if node.op_type == "Add" and len(data) == 2:
            # The convolution adds to what the other branch of a residual block has made.
            same = self._shape(data[0]) == self._shape(data[1])
            return host if same and host in self.blocked else None
        merges = node.op_type in MERGED_ACTIVATIONS or node.op_type in MERGED_ARITHMETIC
        return host if merges and len(data) == 1 else None

    def _is_blocked(self, node: onnx.NodeProto, data: Sequence[str]) -> bool:
        """Whether a node works in the blocked layout."""
        if node.domain not in DEFAULT_DOMAINS or not data or not self._has_planes(data[0]):
            return False
        channels = self._shape(data[0])[1]
        if node.op_type == "Conv" and node.input[1] in self.sizes.weights:
            return blocks_convolution(node, self.sizes.weights[node.input[1]].shape, channels)
        if node.op_type in BLOCKED_POOLS:
            return channels % BLOCK == 0 and len(node.output) == 1
        if node.op_type not in BLOCKED_FOLLOWERS or not self.blocked.issuperset(data):
            return False
        shapes = {self._shape(name) for name in data}
        if node.op_type == "Concat":
            aligned = all(self._shape(name)[1] % BLOCK == 0 for name in data)
            return aligned and attributes(node).get("axis") == 1
        return len(shapes) == 1 and (node.op_type != "Add" or len(data) == 2)

    def _room(self, node: onnx.NodeProto, data: Sequence[str], made: Sequence[str]) -> Size | None:
        """What a node wants besides its outputs while it runs."""
        if bodies(node):
            # A body's values are not known; this much for each that may be alive at once.
            return _sum([self.sizes.values[name] for name in (*data, *made)])
        if node.op_type in ("Conv", "ConvTranspose") and made and made[0] not in self.blocked:
            return self._columns(node, data, made[0])
        if node.op_type in GATES and data:
            # (time, sample, features) of each gate.
            found = attributes(node)
            features = self._shape(data[0])[-1]
            directions = 1 + (found.get("direction") == b"bidirectional")
            width = GATES[node.op_type] * found.get("hidden_size", features) * directions
            return self.sizes.values[data[0]].times(width / max(features, 1))
        if node.op_type in ROOM and made and len(data) >= ROOM_FROM.get(node.op_type, 1):
            return self.sizes.values[made[0]].times(ROOM[node.op_type])
        return None

    def _columns(self, node: onnx.NodeProto, data: Sequence[str], made: str) -> Size | None:
        """The patches under the kernel, of one sample and one group."""
        weight = self.sizes.weights.get(node.input[1])
        if weight is None or not data:
            return None
        kernel = math.prod(weight.shape[2:])
        transposed = node.op_type == "ConvTranspose"
        rows = kernel * weight.shape[1]
        places = math.prod(self._shape(data[0] if transposed else made)[2:])
        return Size(rows * places * weight.dtype.itemsize, 0)

    def _size(self, name: str) -> Size:
        return self._padded(name) if name in self.blocked else self.sizes.values[name]

    def _padded(self, name: str) -> Size:
        channels = self._shape(name)[1]
        padded = -(-channels // WIDEST_BLOCK) * WIDEST_BLOCK
        return self.sizes.values[name].times(padded / max(channels, 1))

    def _shape(self, name: str) -> tuple[int, ...]:
        return self.sizes.values[name].shape

    def _has_planes(self, name: str) -> bool:
        size = self.sizes.values[name]
        return len(size.shape) == PLANES_RANK and size.dtype == TensorProto.FLOAT


def _occurrences(node: onnx.NodeProto) -> list[str]:
    """The values that a node reads, as often as it does."""
    names = [name for name in node.input if name]
    return names + sorted(values_read(node).difference(names)) if bodies(node) else names


def _sum(sizes: Sequence[Size]) -> Size:
    return Size(
        sum(size.fixed for size in sizes),
        sum(size.per_sample for size in sizes),
        sum(size.per_pair for size in sizes),
    )
