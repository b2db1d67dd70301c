"""A graph cut into segments that run one after the other.

A segment's weights are in memory while it runs and no longer, so that a model may be larger than
memory. Where everything fits, the whole graph is one segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from lsuv_cli.core.records import Feeds
from lsuv_cli.model.layers import LayerSite
from lsuv_cli.model.nodes import values_read
from lsuv_cli.model.onnx_model import OnnxModel
from lsuv_cli.model.subgraph import needed_nodes

# Operators whose outputs are sequences of tensors.
SEQUENCE_MAKERS = frozenset(
    (
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceMap",
        "SplitToSequence",
    )
)


@dataclass(frozen=True, slots=True)
class Segment:
    """Nodes that run in one session.

    Attributes:
        nodes: in execution order.
        carried: the values made in this segment or before it that later ones read.
        parameters: the parameters it reads.
    """

    nodes: tuple[onnx.NodeProto, ...]
    carried: frozenset[str]
    parameters: frozenset[str]

    def makes(self) -> set[str]:
        """The values that its nodes make."""
        return {name for node in self.nodes for name in node.output if name}

    def hand_on(self, inputs: Feeds, feeds: Feeds, made: Feeds) -> Feeds:
        """What the next segment is fed: the inputs, and the values that are still wanted.

        Args:
            inputs: the model's inputs.
            feeds: what this segment was fed.
            made: what it made.
        """
        return {
            name: value
            for name, value in {**feeds, **made}.items()
            if name in inputs or name in self.carried
        }


def cut_segments(
    model: OnnxModel, sites: Sequence[LayerSite], values: Iterable[str], max_bytes: int
) -> list[Segment]:
    """Cut what some values depend on into segments.

    Args:
        model: the model.
        sites: its layers; each stays together with the Add of its bias.
        values: what is wanted.
        max_bytes: bytes of weights in one segment, as they are computed with; more only where one
            node needs more.
    """
    pairs = {s.node.output[0]: s.bias_node for s in sites if s.bias_node is not None}
    units = list(_units(needed_nodes(model.nodes, values), pairs))
    return cut_nodes(model, units, max_bytes)


def cut_nodes(
    model: OnnxModel, units: Sequence[Sequence[onnx.NodeProto]], max_bytes: int
) -> list[Segment]:
    """Cut nodes into segments.

    Args:
        model: the model that they, or what they read, belong to.
        units: nodes in execution order; those of one unit stay together.
        max_bytes: see `cut_segments`.
    """
    whole = _with_sequences(units)
    parts: list[list[onnx.NodeProto]] = [[]]
    loaded: dict[str, int] = {}
    for position, unit in enumerate(units):
        wanted = {name: size for node in unit for name, size in _sizes(node, model).items()}
        too_much = sum((loaded | wanted).values()) > max_bytes
        if parts[-1] and too_much and position not in whole:
            parts.append([])
            loaded = {}
        loaded |= wanted
        parts[-1] += unit
    return _closed(parts, model)


def _with_sequences(units: Sequence[Sequence[onnx.NodeProto]]) -> set[int]:
    """The units before which a sequence is still wanted, which can't be handed on."""
    inside: set[int] = set()
    made: dict[str, int] = {}
    for position, unit in enumerate(units):
        for node in unit:
            for name in values_read(node) & made.keys():
                inside.update(range(made[name] + 1, position + 1))
            if node.op_type in SEQUENCE_MAKERS:
                made.update(dict.fromkeys(node.output, position))
    return inside


def _units(
    nodes: Sequence[onnx.NodeProto], pairs: Mapping[str, onnx.NodeProto]
) -> Iterator[list[onnx.NodeProto]]:
    """The nodes, each layer followed at once by the Add of its bias."""
    outputs = {node.output[0] for node in nodes if node.output}
    moved = {add.output[0] for product, add in pairs.items() if product in outputs}
    for node in nodes:
        if node.output and node.output[0] in moved:
            continue
        add = pairs.get(node.output[0]) if node.output else None
        yield [node, add] if add is not None and add.output[0] in outputs else [node]


def _sizes(node: onnx.NodeProto, model: OnnxModel) -> dict[str, int]:
    """Bytes of each weight that a node reads."""
    return {name: model.weights[name].nbytes for name in values_read(node) & model.weights.keys()}


def _closed(parts: Sequence[Sequence[onnx.NodeProto]], model: OnnxModel) -> list[Segment]:
    """The segments, with what each hands on."""
    made: list[set[str]] = []
    so_far: set[str] = set()
    for nodes in parts:
        so_far = so_far | {name for node in nodes for name in node.output if name}
        made.append(so_far)
    segments: list[Segment] = []
    later: set[str] = set()
    for nodes, available in zip(reversed(parts), reversed(made), strict=True):
        read = {name for node in nodes for name in values_read(node)}
        segments.append(
            Segment(
                tuple(nodes),
                frozenset(later & available),
                frozenset(model.view(name).source for name in read & model.weights.keys()),
            )
        )
        later |= read
    return segments[::-1]
