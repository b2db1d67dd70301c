"""Values that nodes put together from views of parameters.

PyTorch's exporter reorders the gates of a recurrent layer: it slices the parameter, concatenates
the slices in another order, and adds an axis. Some rows of such a value are then a view of the
parameter again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes
from lsuv_cli.graph.views import Reshaped, Sliced, View, ViewStep

# The operators that put such values together.
JOINING = ("Concat", "Unsqueeze")


@dataclass(frozen=True, slots=True)
class Joined:
    """A concatenation along the first axis."""

    parts: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Lifted:
    """A value with a new first axis of size 1."""

    inner: Piece


Piece = View | Joined | Lifted


class JoinedValues:
    """The values of a graph that are put together from parameters along their first axis."""

    def __init__(self, values: Mapping[str, Piece], graph: EditableGraph) -> None:
        self._values = values
        self._graph = graph

    def rows(self, value: str, index: int, start: int, stop: int) -> View | None:
        """Return `value[index, start:stop]`; None where it is no view of one parameter."""
        piece = self._values.get(value) or self._graph.view(value)
        if isinstance(piece, View):
            part = Sliced(((index, index + 1, None), (start, stop, None)))
            flat = Reshaped((stop - start, *self._shape(piece)[2:]))
            return View(piece.parameter, (*piece.steps, part, flat))
        picked = None if piece is None else self._pick(piece, index)
        return None if picked is None else self._slice(picked, start, stop)

    def _shape(self, view: View) -> tuple[int, ...]:
        return view.shape(self._graph.info(view).shape)

    def _length(self, piece: Piece) -> int:
        if isinstance(piece, View):
            return self._shape(piece)[0]
        if isinstance(piece, Lifted):
            return 1
        return sum(map(self._length, piece.parts))

    def _pick(self, piece: Piece, index: int) -> Piece | None:
        """Return a piece's element along its first axis."""
        if isinstance(piece, Lifted):
            return piece.inner if index == 0 else None
        if isinstance(piece, View):
            one = (Sliced(((index, index + 1, None),)), Reshaped(self._shape(piece)[1:]))
            return View(piece.parameter, (*piece.steps, *one))
        for part in piece.parts:
            length = self._length(part)
            if index < length:
                return self._pick(part, index)
            index -= length
        return None

    def _slice(self, piece: Piece, start: int, stop: int) -> View | None:
        """Return some rows of a piece; None where they are no view of one parameter."""
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
    """Return a view's steps and a slice of its rows; one slice where there was one before."""
    last = view.steps[-1] if view.steps else None
    if isinstance(last, Sliced) and len(last.slices) == 1:
        first, _, step = last.slices[0]
        if first is not None and first >= 0 and step is None:
            return (*view.steps[:-1], Sliced(((first + start, first + stop, None),)))
    return (*view.steps, Sliced(((start, stop, None),)))


def joined_values(graph: EditableGraph) -> JoinedValues:
    """Find the values that are put together from parameters along their first axis."""
    values: dict[str, Piece] = {}

    def piece(name: str) -> Piece | None:
        return values.get(name) or graph.view(name)

    for node in graph.nodes:
        if node.domain not in DEFAULT_DOMAINS or node.op_type not in JOINING:
            continue
        pieces = [piece(name) for name in node.input]
        if node.op_type == "Concat":
            parts = tuple(one for one in pieces if one is not None)
            if attributes(node)["axis"] == 0 and len(parts) == len(pieces):
                values[node.output[0]] = Joined(parts)
        elif pieces[0] is not None:
            axes = attributes(node).get("axes", graph.integers((*node.input, "")[1]))
            if axes is not None and list(axes) == [0]:
                values[node.output[0]] = Lifted(pieces[0])
    return JoinedValues(values, graph)
