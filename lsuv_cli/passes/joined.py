"""Values that are put together from views of parameters.

PyTorch's exporter orders the gates of a recurrent layer anew: it slices the parameter, joins the
slices in another order, and adds an axis. What such a value holds in some rows is then again a view
of the parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, values_read
from lsuv_cli.graph.views import IntegerConstants, Reshaped, Sliced, View, ViewStep, with_whole


@dataclass(frozen=True, slots=True)
class Joined:
    """Values one behind the other along the first axis."""

    parts: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Lifted:
    """A value with a new first axis of size 1."""

    inner: Piece


Piece = View | Joined | Lifted


class JoinedValues:
    """What some values are put together from."""

    def __init__(
        self,
        values: Mapping[str, Piece],
        makers: Mapping[str, onnx.NodeProto],
        infos: Mapping[str, TensorInfo],
    ) -> None:
        self._values = values
        self._makers = makers
        self._infos = infos

    def rows(self, value: str, index: int, start: int, stop: int) -> View | None:
        """What `value[index, start:stop]` is; None where it is no view of one parameter."""
        piece = self._values.get(value)
        if isinstance(piece, View):
            shape = piece.shape(self._infos[piece.parameter].shape)
            part = Sliced(((index, index + 1, None), (start, stop, None)))
            flat = Reshaped((stop - start, *shape[2:]))
            return View(piece.parameter, (*piece.steps, part, flat))
        picked = None if piece is None else self._pick(piece, index)
        return None if picked is None else self._slice(picked, start, stop)

    def without_unread(
        self, nodes: Sequence[onnx.NodeProto], values: Iterable[str]
    ) -> list[onnx.NodeProto]:
        """The nodes without those that only put together values which nothing reads any more.

        Args:
            nodes: in execution order.
            values: some that may have lost their reader.
        """
        readers: dict[str, int] = {}
        for node in nodes:
            for name in values_read(node):
                readers[name] = readers.get(name, 0) + 1
        gone: set[str] = set()
        pending = list(values)
        while pending:
            value = pending.pop()
            maker = self._makers.get(value)
            if maker is None or readers.get(value, 0) or value in gone:
                continue
            gone.add(value)
            for name in values_read(maker):
                readers[name] -= 1
                pending.append(name)
        return [node for node in nodes if not (node.output and node.output[0] in gone)]

    def _length(self, piece: Piece) -> int:
        if isinstance(piece, View):
            return piece.shape(self._infos[piece.parameter].shape)[0]
        if isinstance(piece, Lifted):
            return 1
        return sum(map(self._length, piece.parts))

    def _pick(self, piece: Piece, index: int) -> Piece | None:
        """The piece's element along its first axis."""
        if isinstance(piece, Lifted):
            return piece.inner if index == 0 else None
        if isinstance(piece, View):
            shape = piece.shape(self._infos[piece.parameter].shape)
            one = (Sliced(((index, index + 1, None),)), Reshaped(shape[1:]))
            return View(piece.parameter, (*piece.steps, *one))
        for part in piece.parts:
            length = self._length(part)
            if index < length:
                return self._pick(part, index)
            index -= length
        return None

    def _slice(self, piece: Piece, start: int, stop: int) -> View | None:
        if isinstance(piece, View):
            return View(piece.parameter, _sliced(piece, start, stop))
        if isinstance(piece, Lifted):
            return None
        for part in piece.parts:
            length = self._length(part)
            if start < length:
                return self._slice(part, start, stop) if stop <= length else None
            start, stop = start - length, stop - length
        return None


def _sliced(view: View, start: int, stop: int) -> tuple[ViewStep, ...]:
    """The view's steps and a slice of its rows; one slice where there was one before."""
    last = view.steps[-1] if view.steps else None
    if isinstance(last, Sliced) and len(last.slices) == 1:
        first, _, step = last.slices[0]
        if first is not None and first >= 0 and step is None:
            return (*view.steps[:-1], Sliced(((first + start, first + stop, None),)))
    return (*view.steps, Sliced(((start, stop, None),)))


def pieces_of(
    nodes: Sequence[onnx.NodeProto],
    infos: Mapping[str, TensorInfo],
    views: Mapping[str, View],
    integers: IntegerConstants,
) -> JoinedValues:
    """Find the values that are put together from parameters along their first axis.

    Args:
        nodes: in execution order.
        infos: shape and dtype of each parameter.
        views: the values that only show a parameter.
        integers: the graph's integer constants, by name.
    """
    values: dict[str, Piece] = dict(with_whole(infos, views))
    makers: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        if node.domain not in DEFAULT_DOMAINS or not all(n in values for n in node.input[:1]):
            continue
        found = attributes(node)
        if node.op_type == "Concat" and found["axis"] == 0:
            if all(name in values for name in node.input):
                values[node.output[0]] = Joined(tuple(values[name] for name in node.input))
                makers[node.output[0]] = node
        elif node.op_type == "Unsqueeze":
            axes = found.get("axes", integers.get((*node.input, "")[1]))
            if axes is not None and list(axes) == [0]:
                values[node.output[0]] = Lifted(values[node.input[0]])
                makers[node.output[0]] = node
    return JoinedValues(values, makers, infos)
