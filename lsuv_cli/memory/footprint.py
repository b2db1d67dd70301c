"""How much memory a graph takes while it runs, told before it does.

From the graph and the shapes alone: the same on every machine, whatever memory it has. It holds for
sessions on the CPU that have no memory pattern, do not plan reuse, and have an arena that extends
itself by what is asked for; what a session takes with ONNX Runtime's defaults is more, by up to
half, and can't be told as well.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import helper

from lsuv_cli.memory.arena import Arena, Chunk
from lsuv_cli.memory.runtime_steps import Step, runtime_steps
from lsuv_cli.memory.value_sizes import Size, Sizes

# What a first run wants whatever it runs: the library's own code, threads and small buffers.
RUNNING_BYTES = 5 << 20

# Measured over computed, where it is all activations.
ARENA_FACTOR = 1.04

SQUARE = "square of "

# In the second run buffers come to lie elsewhere than in the first; from then on they stay.
RUNS = 2


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory of a session's runs.

    Attributes:
        buffers: the size of each buffer that a run takes from ONNX Runtime's arena.
        events: in order, the index of a buffer that is taken, or -1 less that of one given back.
        outside: the sizes of what is fed, and of the copies of what is fetched.
        guessed: those of the values in it whose size is a guess.
    """

    buffers: tuple[Size, ...]
    events: tuple[int, ...]
    outside: tuple[Size, ...]
    guessed: frozenset[str]

    def peak_bytes(self, samples: int) -> int:
        """The most bytes resident for a batch of some samples, however often it is run.

        Beside what the process holds before the first run: the weights for example.
        """
        arena = Arena()
        sizes = [size.bytes(samples) for size in self.buffers]
        taken: list[Chunk | None] = [None] * len(sizes)
        for _ in range(RUNS):
            for event in self.events:
                if event >= 0:
                    taken[event] = arena.take(sizes[event])
                else:
                    arena.give_back(taken[-1 - event])
        outside = sum(size.bytes(samples) for size in self.outside)
        return RUNNING_BYTES + outside + math.ceil(ARENA_FACTOR * arena.resident_bytes)

    def largest_batch(self, budget_bytes: int, at_most: int) -> int:
        """The most samples whose runs keep within a budget; 1 where not even one does.

        Args:
            budget_bytes: beside what the process holds before.
            at_most: the most that may be asked for, 1 at least.
        """
        fits, too_many = 1, at_most + 1
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if self.peak_bytes(middle) <= budget_bytes:
                fits = middle
            else:
                too_many = middle
        return fits


def footprint(nodes: Sequence[onnx.NodeProto], fetched: Sequence[str], sizes: Sizes) -> Footprint:
    """Find what a session's runs take: what is fed, what is made, copies of what is fetched.

    Args:
        nodes: the session's, in the order of its graph.
        fetched: the values that are fetched, and copied once they are.
        sizes: of all that the nodes read and make.
    """
    steps, kept = runtime_steps(nodes, fetched, sizes)
    return _Buffers(steps, kept, sizes).footprint()


def with_taps(
    nodes: Sequence[onnx.NodeProto], products: Iterable[str], sizes: Sizes
) -> tuple[list[onnx.NodeProto], Sizes]:
    """The nodes of a graph whose layers are measured, and the sizes of all that they make.

    Of a tap the square alone takes memory to speak of; and what is measured keeps the operator
    behind it from becoming part of the layer.

    Args:
        nodes: the graph's.
        products: what its layers make, in execution order.
        sizes: of what the nodes read and make.
    """
    squares = {f"{SQUARE}{name}": name for name in products if name in sizes.values}
    # ONNX Runtime comes to the last node first of those that nobody reads from.
    taps = [helper.make_node("Mul", [name, name], [made]) for made, name in squares.items()][::-1]
    made = {square: sizes.values[name] for square, name in squares.items()}
    return [*nodes, *taps], replace(sizes, values={**sizes.values, **made})


class _Buffers:
    """Gives values buffers, and lets these go, as the steps go by."""

    def __init__(self, steps: Sequence[Step], kept: Sequence[str], sizes: Sizes) -> None:
        self.steps = steps
        self.kept = kept
        self.sizes = sizes
        self.uses = Counter(name for step in steps for name in step.reads)
        self.uses.update(kept)
        made = {name for step in steps for name, _ in step.makes}
        self.fed = [name for name in self.uses if name not in made]
        self.of: dict[str, int | None] = dict.fromkeys(self.fed)  # None: the feeder's own
        self.buffers: list[Size] = []
        self.left: list[int] = []
        self.events: list[int] = []

    def footprint(self) -> Footprint:
        """Walk the steps."""
        for step in self.steps:
            for place, (name, size) in enumerate(step.makes):
                self._make(step, name, size, first=place == 0)
            if step.room is not None:
                room = self._take(step.room, 1)
                self._drop(room)
            for name in (*step.reads, *(name for name, _ in step.makes)):
                self._drop(self.of[name])
        for name in self.kept:
            self._drop(self.of[name])
        copies = [self._size(name) for name in self.kept]
        named = {name for step in self.steps for name, _ in step.makes}.union(self.fed)
        return Footprint(
            tuple(self.buffers),
            tuple(self.events),
            (*(self.sizes.values[name] for name in self.fed), *copies),
            self.sizes.guessed & named,
        )

    def _size(self, name: str) -> Size:
        buffer = self.of[name]
        return self.sizes.values[name] if buffer is None else self.buffers[buffer]

    def _make(self, step: Step, name: str, size: Size, *, first: bool) -> None:
        """Give a value a buffer; one of its uses is its maker's."""
        uses = self.uses[name] + 1
        source = self.of[step.reads[0]] if step.reads and first else None
        if first and step.alias and step.reads and source is None:
            self.of[name] = None
        elif source is not None and (step.alias or self._may_overwrite(step, source, size)):
            self.of[name] = source
            self.left[source] += uses
        else:
            self.of[name] = self._take(size, uses)

    def _may_overwrite(self, step: Step, source: int, size: Size) -> bool:
        held = self.buffers[source]
        same = (held.fixed, held.per_sample) == (size.fixed, size.per_sample)
        return step.overwrites and same and self.left[source] == 1

    def _take(self, size: Size, uses: int) -> int:
        self.buffers.append(size)
        self.left.append(uses)
        self.events.append(len(self.buffers) - 1)
        return len(self.buffers) - 1

    def _drop(self, buffer: int | None) -> None:
        if buffer is None:
            return
        self.left[buffer] -= 1
        if not self.left[buffer]:
            self.events.append(-1 - buffer)
