"""Nodes that only rearrange a parameter: their outputs become views of it.

An exporter may put a Transpose, a Reshape or a Slice between a parameter and the node that uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, FLOAT_TYPES, attributes
from lsuv_cli.graph.views import EVERYTHING, Reshaped, Sliced, Transposed, View, ViewStep
from lsuv_cli.passes.known_sizes import SIZE_OPERATORS, KnownSizes
from lsuv_cli.passes.pipeline import Pass


def resolve_rearrangements(graph: EditableGraph) -> None:
    """Replace each node that only rearranges a parameter by views of the parameter.

    Where computed sizes have turned out to be known, those behind them may be known as well.
    """
    again = True
    while again:
        again = _resolve(graph, KnownSizes(graph))


def _resolve(graph: EditableGraph, sizes: KnownSizes) -> bool:
    """Go through the nodes once; return whether going through them again may resolve more."""
    found_known = left_unknown = False
    for node in graph.nodes:
        view = graph.view(node.input[0]) if node.input else None
        if view is None or not graph.outputs.isdisjoint(node.output):
            continue
        elements = np.empty(graph.info(view).shape, np.int8)  # takes no memory
        # What a parameter is expanded to by computed sizes is a batch: not worth inferring.
        known = graph.integers if node.op_type == "Expand" else sizes.integers
        try:
            steps = _steps(node, view.of(elements).shape, known)
            made = [View(view.parameter, (*view.steps, *more)) for more in steps]
            # Reshaping a transposed array may take a copy, which is no view.
            is_view = all(np.may_share_memory(one.of(elements), elements) for one in made)
        except _UnknownError:
            left_unknown = left_unknown or node.op_type != "Expand"
            continue
        except (ValueError, IndexError):
            continue  # the shapes don't fit; ONNX Runtime says so
        if not made or not is_view:
            continue
        computed = [name for name in node.input[1:] if name and graph.integers(name) is None]
        graph.remove(node)
        for name, one in zip(node.output, made, strict=True):
            graph.add_view(name, one)
        graph.remove_unread(computed, SIZE_OPERATORS)
        found_known = found_known or bool(computed)
    return found_known and left_unknown


# The steps from a node's first input to each of its outputs.
ViewSteps = list[tuple[ViewStep, ...]]

# Returns an integer value of the graph by its name; None where it is not known.
Integers = Callable[[str], NDArray[Any] | None]


class _UnknownError(Exception):
    """An input of a node is not known."""


@dataclass(frozen=True, slots=True)
class _Rearrangement:
    """A node whose first input has a known shape."""

    node: onnx.NodeProto
    shape: tuple[int, ...]
    attributes: Mapping[str, Any]
    known: Integers

    def integers(self, position: int, attribute: str) -> tuple[int, ...]:
        """Return an input or, in older opsets, an attribute; () where there is neither."""
        if attribute in self.attributes:
            return tuple(np.ravel(self.attributes[attribute]).tolist())
        if len(self.node.input) <= position or not self.node.input[position]:
            return ()
        return tuple(np.ravel(self.constant(position)).tolist())

    def constant(self, position: int) -> NDArray[Any]:
        """Return the value of an input."""
        value = self.known(self.node.input[position])
        if value is None:
            raise _UnknownError
        return value

    def axis(self, default: int) -> int:
        """Return the attribute `axis`, counted from the front."""
        return int(self.attributes.get("axis", default)) % len(self.shape)


def view_steps(node: onnx.NodeProto, shape: tuple[int, ...], integers: Integers) -> ViewSteps:
    """Return the steps to each output of a node that rearranges; [] for any other node.

    Args:
        node: the node.
        shape: the shape of its first input.
        integers: returns a value of the graph, int32 or int64; None where it is not known.
    """
    try:
        return _steps(node, shape, integers)
    except _UnknownError:
        return []


def _steps(node: onnx.NodeProto, shape: tuple[int, ...], integers: Integers) -> ViewSteps:
    """Return the steps to each output of a node that rearranges; see `view_steps`.

    Raises:
        _UnknownError: they depend on an integer that is not known.
    """
    rule = _RULES.get(node.op_type)
    if rule is None or node.domain not in DEFAULT_DOMAINS:
        return []
    return rule(_Rearrangement(node, shape, attributes(node), integers))


def _cast(node: _Rearrangement) -> ViewSteps:
    # Whatever the file says, float16 and bfloat16 are computed in float32.
    return [()] if node.attributes["to"] in FLOAT_TYPES - {TensorProto.DOUBLE} else []


def _transpose(node: _Rearrangement) -> ViewSteps:
    axes = node.attributes.get("perm", range(len(node.shape))[::-1])
    return [(Transposed(tuple(axes)),)]


def _reshape(node: _Rearrangement) -> ViewSteps:
    target = node.integers(1, "shape")
    if not node.attributes.get("allowzero", 0):
        target = tuple(size or node.shape[axis] for axis, size in enumerate(target))
    if -1 in target:
        rest = math.prod(node.shape) // -math.prod(target)
        target = tuple(rest if size == -1 else size for size in target)
    return [(Reshaped(target),)]


def _expand(node: _Rearrangement) -> ViewSteps:
    """Return new axes of size 1; the copies of a parameter along an axis are no view of it."""
    target = node.integers(1, "shape")
    shape = np.broadcast_shapes(target, node.shape)
    return [(Reshaped(shape),)] if math.prod(shape) == math.prod(node.shape) else []


def _flatten(node: _Rearrangement) -> ViewSteps:
    axis = int(node.attributes.get("axis", 1))
    return [(Reshaped((math.prod(node.shape[:axis]), math.prod(node.shape[axis:]))),)]


def _squeeze(node: _Rearrangement) -> ViewSteps:
    gone = {axis % len(node.shape) for axis in node.integers(1, "axes")}
    gone = gone or {axis for axis, size in enumerate(node.shape) if size == 1}
    return [(Reshaped(tuple(s for axis, s in enumerate(node.shape) if axis not in gone)),)]


def _unsqueeze(node: _Rearrangement) -> ViewSteps:
    axes = node.integers(1, "axes")
    rank = len(node.shape) + len(axes)
    new = {axis % rank for axis in axes}
    sizes = iter(node.shape)
    return [(Reshaped(tuple(1 if axis in new else next(sizes) for axis in range(rank))),)]


def _split(node: _Rearrangement) -> ViewSteps:
    axis, count = node.axis(0), len(node.node.output)
    sizes = node.integers(1, "split")
    if not sizes:
        size = -(-node.shape[axis] // count)
        sizes = (size,) * (count - 1) + (node.shape[axis] - size * (count - 1),)
    ends = np.cumsum(sizes).tolist()
    return [
        (Sliced((*(EVERYTHING,) * axis, (end - size, end, None))),)
        for size, end in zip(sizes, ends, strict=True)
    ]


def _slice(node: _Rearrangement) -> ViewSteps:
    starts, ends, axes, steps = (
        node.integers(position, name)
        for position, name in enumerate(("starts", "ends", "axes", "steps"), 1)
    )
    slices = [EVERYTHING] * len(node.shape)
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[position] if axes else position
        step = steps[position] if steps else 1
        # ONNX writes "to the end" as any number that is large enough.
        stop = None if abs(end) >= 2**31 - 1 else end
        slices[axis % len(node.shape)] = (start, stop, None if step == 1 else step)
    while slices and slices[-1] == EVERYTHING:
        slices.pop()
    return [(Sliced(tuple(slices)),)]


def _gather(node: _Rearrangement) -> ViewSteps:
    """Return a slice of one element along an axis, which is replaced by the axes of the index."""
    axis, index = node.axis(0), node.constant(1)
    if index.size != 1:
        return []
    position = int(index.reshape(())) % node.shape[axis]
    one = Sliced((*(EVERYTHING,) * axis, (position, position + 1, None)))
    return [(one, Reshaped((*node.shape[:axis], *index.shape, *node.shape[axis + 1 :])))]


_RULES: dict[str, Callable[[_Rearrangement], ViewSteps]] = {
    "Cast": _cast,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": lambda _: [()],
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


PASS = Pass(
    "rearrangements",
    resolve_rearrangements,
    requires=(
        "fused_attention",
        "fused_biases",
        "fused_products",
        "constant_parameters",
        "identity_copies",
        "torch_sharing",
        "keras_sharing",
        "split_sequences",
        "unit_factors",
    ),
)
