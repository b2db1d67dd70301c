"""Sequences of a value's parts, each part taken out at a constant position: slices instead.

PyTorch's exporters write `torch.split` and its like as a SplitToSequence and a SequenceAt for each
part, unless they optimise the graph.
"""

from __future__ import annotations

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.new_nodes import AXES_INPUT_OPSET
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, node_name
from lsuv_cli.passes.pipeline import Pass


def slice_sequences(graph: EditableGraph) -> None:
    """Replace each SequenceAt of a SplitToSequence by a Slice, if all of that one's readers are."""
    for node in graph.nodes:
        if node.op_type != "SplitToSequence" or node.domain not in DEFAULT_DOMAINS:
            continue
        readers = graph.readers(node.output[0])
        limits = [_limits(node, reader, graph) for reader in readers]
        if node.output[0] in graph.outputs or None in limits:
            continue
        for reader, ends in zip(readers, limits, strict=True):
            if ends is not None:
                graph.replace(reader, _sliced(node, reader, ends, graph))
        graph.remove(node)


def _limits(
    node: onnx.NodeProto, reader: onnx.NodeProto, graph: EditableGraph
) -> tuple[int, int] | None:
    """Return where a part begins and ends; None where that is not constant."""
    if reader.op_type != "SequenceAt" or reader.domain not in DEFAULT_DOMAINS:
        return None
    found = graph.integers(reader.input[1])
    sizes = graph.integers(node.input[1]) if len(node.input) > 1 and node.input[1] else None
    if found is None or (sizes is None and any(node.input[1:])):
        return None
    position = int(found.reshape(()))
    if sizes is not None and sizes.ndim:
        if not -sizes.size <= position < sizes.size:
            return None
        position %= sizes.size
        return int(sizes[:position].sum()), int(sizes[: position + 1].sum())
    size = 1 if sizes is None else int(sizes)
    # Parts of one size are counted from the front; how many there are is not known.
    return (position * size, (position + 1) * size) if position >= 0 else None


def _sliced(
    node: onnx.NodeProto, reader: onnx.NodeProto, limits: tuple[int, int], graph: EditableGraph
) -> list[onnx.NodeProto]:
    """Return the nodes in the place of a SequenceAt."""
    new = graph.new_nodes(reader.output[0])
    found = attributes(node)
    axis = found.get("axis", 0)
    start, end = ([limit] for limit in limits)
    inputs = [new.integers(start, "start"), new.integers(end, "end"), new.integers([axis], "axes")]
    drops_axis = not any(node.input[1:]) and not found.get("keepdims", 1)
    part = new.node(
        "Slice",
        [node.input[0], *inputs],
        "part",
        output="" if drops_axis else reader.output[0],
        name=node_name(reader),
    )
    if drops_axis and graph.opset < AXES_INPUT_OPSET:
        new.node("Squeeze", [part], output=reader.output[0], axes=[axis])
    elif drops_axis:
        new.node("Squeeze", [part, inputs[2]], output=reader.output[0])
    return new.nodes


PASS = Pass("split_sequences", slice_sequences)
