"""A graph cut into segments, through which all samples go one after the other.

A segment's weights are in memory while it runs and no longer, so that a model may be larger than
memory; and where the samples come in several batches, no step needs the scale of a layer of its own
segment, which is only known once all batches have passed. Where everything fits, the whole graph
is one segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx

from lsuv_cli.core.errors import ModelError
from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.instrument.constant_steps import ConstantSteps
from lsuv_cli.instrument.steps import SweepStep, count_nodes, node_step, sizes_read
from lsuv_cli.reading.model import OnnxModel

# ONNX Runtime opens a session in a time that grows with the square of its nodes, and a measured
# layer has about 25. With segments of this length the time grows linearly with the model.
MAX_SEGMENT_STEPS = 256


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps that run in one session.

    Attributes:
        steps: in execution order.
        entering: the values made before it, or fed, that it or a later one reads.
        leaving: the values made in it or before, or fed, that later ones read.
        parameters: the parameters it reads.
        cautious: whether each scale is multiplied in at once and measured around the mean.
    """

    steps: tuple[SweepStep, ...]
    entering: frozenset[str]
    leaving: frozenset[str]
    parameters: frozenset[str]
    cautious: bool = False

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The steps' nodes; of a layer more than once."""
        return [step.node for step in self.steps]

    @property
    def node_count(self) -> int:
        """The number of the model's nodes that it runs, a layer and its bias counting as one."""
        return count_nodes(self.steps)

    def makes(self) -> set[str]:
        """Return the values that it makes."""
        return {name for step in self.steps for name in step.makes}


class Tracer(Protocol):
    """Decides where a segment must end."""

    def takes(self, step: SweepStep) -> bool:
        """Return whether the segment can go on with a step, and take it if so."""

    def end(self) -> None:
        """End the segment."""


def cut_for_values(model: OnnxModel, values: Iterable[str], max_bytes: int) -> list[Segment]:
    """Cut the nodes that some values depend on into segments.

    Args:
        model: the model.
        values: those to compute.
        max_bytes: bytes of weights in one segment, as they are computed with; more only where one
            node needs more.
    """
    return cut_steps(model, list(map(node_step, model.uses.needed(values))), max_bytes)


def cut_steps(
    model: OnnxModel,
    steps: Sequence[SweepStep],
    max_bytes: int,
    tracer: Tracer | None = None,
    *,
    later: Iterable[str] = (),
    cautious: bool = False,
) -> list[Segment]:
    """Cut steps into segments.

    Args:
        model: the model that they, or what they read, belong to.
        steps: in execution order.
        max_bytes: see `cut_for_values`.
        tracer: decides where a segment must end; None where only weights and nodes end one.
        later: values that are read once all steps are done.
        cautious: whether the segments are.

    Raises:
        ModelError: a segment would have to end where a sequence of tensors is still to be read.
    """
    sizes = {name: info.nbytes for name, info in model.weight_values.items()}
    later = frozenset(later)
    constants = ConstantSteps(model, steps, later)
    steps = constants.others
    whole = _with_sequences(steps)
    parts: list[list[SweepStep]] = [[]]
    loaded: dict[str, int] = {}

    def end() -> None:
        parts.append([])
        loaded.clear()
        if tracer is not None:
            tracer.end()

    for position, step in enumerate(steps):
        needed = [*constants.missing(step, parts[-1]), step]
        wanted = {name: size for one in needed for name, size in sizes_read(one, sizes).items()}
        is_full = len(parts[-1]) >= MAX_SEGMENT_STEPS or sum((loaded | wanted).values()) > max_bytes
        if parts[-1] and is_full and position not in whole:
            end()
            needed = [*constants.missing(step, ()), step]
        if tracer is not None and not all(map(tracer.takes, needed)):
            if position in whole:
                raise ModelError(
                    f"{model.path}: a sequence of tensors would cross the boundary "
                    "of a segment, so all samples must run in one batch; set --batch-size to the "
                    "number of samples"
                )
            end()
            needed = [*constants.missing(step, ()), step]
            all(map(tracer.takes, needed))
        loaded |= wanted
        parts[-1] += needed
    return _closed(parts, model, later, cautious=cautious)


def _with_sequences(steps: Sequence[SweepStep]) -> set[int]:
    """Return the steps before which a sequence is still to be read, which can't be passed on."""
    inside: set[int] = set()
    made: dict[str, int] = {}
    for position, step in enumerate(steps):
        for name in step.reads & made.keys():
            inside.update(range(made[name] + 1, position + 1))
        if operator_of(step.node).makes_sequences:
            made.update(dict.fromkeys(step.makes, position))
    return inside


def _closed(
    parts: Sequence[Sequence[SweepStep]], model: OnnxModel, later: Iterable[str], *, cautious: bool
) -> list[Segment]:
    """Return the segments, with the values that each passes on."""
    constants = {tensor.name for tensor in model.skeleton.graph.initializer} | set(
        model.weight_values
    )
    segments: list[Segment] = []
    wanted = set(later)
    for steps in reversed(parts):
        leaving = frozenset(wanted)
        for step in reversed(steps):
            wanted -= set(step.makes)
            wanted |= step.reads - constants
        read = {name for step in steps for name in step.reads}
        sources = frozenset(
            model.view(name).parameter for name in read & model.weight_values.keys()
        )
        segments.append(Segment(tuple(steps), frozenset(wanted), leaving, sources, cautious))
    return segments[::-1]
