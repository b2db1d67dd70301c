"""Parameters seen through nodes that only rearrange them.

An exporter may put a Transpose, a Reshape or a Slice between a parameter and the node that uses it.
numpy's views do the same without copying, in both directions: what is written into a view is
written into the parameter, and what two views have in common stays tied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, FLOAT_TYPES, attributes

Array = NDArray[Any]
IntegerConstants = Mapping[str, Array]
Limits = tuple[int | None, int | None, int | None]

EVERYTHING: Limits = (None, None, None)


@dataclass(frozen=True, slots=True)
class Transposed:
    """Axes in another order."""

    axes: tuple[int, ...]

    def __call__(self, array: Array) -> Array:
        """The view of an array."""
        return array.transpose(self.axes)


@dataclass(frozen=True, slots=True)
class Reshaped:
    """The same elements in another shape."""

    shape: tuple[int, ...]

    def __call__(self, array: Array) -> Array:
        """The view of an array."""
        return array.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Sliced:
    """Some of the elements: (start, stop, step) for each axis."""

    slices: tuple[Limits, ...]

    def __call__(self, array: Array) -> Array:
        """The view of an array."""
        return array[tuple(slice(*limits) for limits in self.slices)]

    def __str__(self) -> str:
        words = (["" if limit is None else str(limit) for limit in one] for one in self.slices)
        return f"[{', '.join(':'.join(w if w[2] else w[:2]) for w in words)}]"


ViewStep = Transposed | Reshaped | Sliced


@dataclass(frozen=True, slots=True)
class View:
    """How a value follows from a parameter.

    Attributes:
        parameter: the parameter's name.
        steps: what is done with it, in order; none where the value is the parameter itself.
    """

    parameter: str
    steps: tuple[ViewStep, ...] = ()

    def of(self, array: Array) -> Array:
        """The view of the parameter's array; shares its memory."""
        for step in self.steps:
            array = step(array)
        return array

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The view's shape, for a parameter of some shape."""
        # Never touched, so that it takes no memory.
        return tuple(self.of(np.empty(shape, np.int8)).shape)

    @property
    def part(self) -> str:
        """What part of the parameter it is, in numpy's notation; "" for the whole."""
        return "".join(str(step) for step in self.steps if isinstance(step, Sliced))


def rows_of(part: Array, whole: Array) -> str | None:
    """Which rows of an array a view of it is, `[3:5]`, however it shows them; "" for all of them.

    Args:
        part: a view of the array.
        whole: the array, C-contiguous, of bytes.

    Returns:
        None where it is not just some rows.
    """
    low, high = byte_bounds(part)
    if not part.size or high - low != part.size:
        return None
    start = low - byte_bounds(whole)[0]
    row = math.prod(whole.shape[1:])
    if start % row or part.size % row:
        return None
    if part.size == whole.size:
        return ""
    return f"[{start // row}:{(start + part.size) // row}]"


def with_whole(parameters: Iterable[str], views: Mapping[str, View]) -> dict[str, View]:
    """The views by name, each parameter being a view of itself."""
    return {name: View(name) for name in parameters} | dict(views)


def overlap(one: View, other: View, shape: tuple[int, ...]) -> bool:
    """Whether two views have an element in common.

    Args:
        one: a view.
        other: another.
        shape: the shape of the parameter they are of, if it is the same.
    """
    if one.parameter != other.parameter:
        return False
    elements = np.empty(shape, np.int8)  # never touched, so that it takes no memory
    return np.may_share_memory(one.of(elements), other.of(elements)) and np.shares_memory(
        one.of(elements), other.of(elements)
    )


def find_views(
    nodes: Sequence[onnx.NodeProto],
    parameters: Mapping[str, TensorInfo],
    constants: IntegerConstants,
    outputs: set[str],
) -> tuple[list[onnx.NodeProto], dict[str, View]]:
    """Resolve the nodes that only rearrange a parameter.

    Args:
        nodes: in execution order.
        parameters: shape and dtype of each parameter.
        constants: the graph's integer constants, by name.
        outputs: the graph's outputs, which must stay values.

    Returns:
        The nodes that are left, and for each value that the others made its view.
    """
    views = {name: View(name) for name in parameters}
    kept = []
    for node in nodes:
        made: list[View] = []
        if node.input and node.input[0] in views and not outputs.intersection(node.output):
            view = views[node.input[0]]
            elements = np.empty(parameters[view.parameter].shape, np.int8)  # takes no memory
            steps = _steps(node, view.of(elements).shape, constants)
            made = [View(view.parameter, (*view.steps, *more)) for more in steps]
            # Reshaping a transposed array may take a copy, which is no view.
            if not all(np.may_share_memory(one.of(elements), elements) for one in made):
                made = []
        if made:
            views.update(zip(node.output, made, strict=True))
        else:
            kept.append(node)
    return kept, {name: view for name, view in views.items() if name not in parameters}


class _NotConstantError(Exception):
    """An argument of a node is no constant."""


@dataclass(frozen=True, slots=True)
class _Rearrangement:
    """A node applied to something of a known shape."""

    node: onnx.NodeProto
    shape: tuple[int, ...]
    attributes: Mapping[str, Any]
    constants: IntegerConstants

    def integers(self, position: int, attribute: str) -> tuple[int, ...]:
        """An input or, in older opsets, an attribute; () where there is neither."""
        if attribute in self.attributes:
            return tuple(np.ravel(self.attributes[attribute]).tolist())
        if len(self.node.input) <= position or not self.node.input[position]:
            return ()
        return tuple(np.ravel(self.constant(position)).tolist())

    def constant(self, position: int) -> Array:
        """The value of an input."""
        try:
            return self.constants[self.node.input[position]]
        except KeyError:
            raise _NotConstantError from None

    def axis(self, default: int) -> int:
        """The attribute `axis`, counted from the front."""
        return int(self.attributes.get("axis", default)) % len(self.shape)


ViewSteps = list[tuple[ViewStep, ...]]


def _steps(
    node: onnx.NodeProto, shape: tuple[int, ...], constants: IntegerConstants
) -> list[tuple[ViewStep, ...]]:
    """The steps to each output of a node that rearranges; empty for any other node."""
    rule = _RULES.get(node.op_type)
    if rule is None or node.domain not in DEFAULT_DOMAINS:
        return []
    try:
        return rule(_Rearrangement(node, shape, attributes(node), constants))
    except _NotConstantError:
        return []


def _cast(node: _Rearrangement) -> ViewSteps:
    # What is computed here is computed in float32 at least, whatever the file says.
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
    """One index along an axis is a slice of one, whose axis becomes those of the index."""
    axis, index = node.axis(0), node.constant(1)
    if index.size != 1:
        return []
    position = int(index.reshape(())) % node.shape[axis]
    one = Sliced((*(EVERYTHING,) * axis, (position, position + 1, None)))
    return [(one, Reshaped((*node.shape[:axis], *index.shape, *node.shape[axis + 1 :])))]


_RULES: dict[str, Callable[[_Rearrangement], ViewSteps]] = {
    "Cast": _cast,
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


def integer_constants(
    nodes: Sequence[onnx.NodeProto], initializers: Sequence[TensorProto]
) -> dict[str, Array]:
    """The graph's integer initializers and Constant nodes."""
    kinds = (TensorProto.INT64, TensorProto.INT32)
    constants = {t.name: numpy_helper.to_array(t) for t in initializers if t.data_type in kinds}
    for node in nodes:
        if node.op_type == "Constant" and node.domain in DEFAULT_DOMAINS:
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.data_type in kinds:
                    constants[node.output[0]] = numpy_helper.to_array(attribute.t)
                elif attribute.name in ("value_int", "value_ints"):
                    value = helper.get_attribute_value(attribute)
                    constants[node.output[0]] = np.asarray(value, np.int64)
    return constants
