"""Tensors of the written file, made from the model's parameters and turned back into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.views import Transposed, View, ViewStep, overlap, rows_of

Shape = tuple[int, ...]
Pieces = tuple[tuple[ViewStep, ...], ...]

WHOLE: Pieces = ((),)


@dataclass(frozen=True, slots=True)
class WrittenTensor:
    """A tensor of the written file.

    Attributes:
        parameter: the model's parameter that it holds; "" for what is not a parameter of the
            model, such as a new BatchNorm's step counter.
        pieces: the steps to each of the parameter's pieces that, joined along the first axis, are
            the tensor: one piece without steps for the parameter as it is, and one per gate, in
            another order, for a recurrent layer.
        info: the tensor's shape and dtype.
    """

    parameter: str
    pieces: Pieces
    info: TensorInfo

    def of(self, parameter: FloatArray) -> FloatArray:
        """Return the tensor's value, given the parameter's."""
        values = [View("", steps).of(parameter) for steps in self.pieces]
        return values[0] if len(values) == 1 else np.concatenate(values)

    def put_back(self, tensor: FloatArray, parameter: FloatArray) -> None:
        """Copy the tensor back into the parameter; the inverse of `of`.

        Args:
            tensor: the written tensor.
            parameter: modified: the pieces that the tensor holds.
        """
        start = 0
        for steps in self.pieces:
            piece = View("", steps).of(parameter)
            stop = start + (piece.shape[0] if piece.ndim else 1)
            piece[...] = tensor[start:stop] if tensor.ndim else tensor
            start = stop


Naming = Mapping[str, WrittenTensor]


def written_as(parameter: str, info: TensorInfo, pieces: Pieces = WHOLE) -> WrittenTensor:
    """Return a parameter, or pieces of it joined, as a tensor of the written file.

    Args:
        parameter: the parameter's name.
        info: the parameter's shape and dtype.
        pieces: see `WrittenTensor`.
    """
    shapes = [View("", steps).shape(info.shape) for steps in pieces]
    shape = shapes[0]
    if len(shapes) > 1:
        shape = (sum(one[0] for one in shapes), *shape[1:])
    return WrittenTensor(parameter, pieces, TensorInfo(shape, info.dtype))


def onnx_names(parameters: Mapping[str, TensorInfo]) -> Naming:
    """Return each parameter under its own name."""
    return {name: written_as(name, info) for name, info in parameters.items()}


def tensors_by_parameter(naming: Naming) -> dict[str, list[str]]:
    """Return for each written parameter the names of the tensors that hold it or pieces of it."""
    tensors: dict[str, list[str]] = {}
    for name, tensor in naming.items():
        if tensor.parameter:
            tensors.setdefault(tensor.parameter, []).append(name)
    return tensors


def assemble_parameter(
    tensors: Mapping[str, WrittenTensor], info: TensorInfo, read: Callable[[str], FloatArray]
) -> FloatArray:
    """Assemble a parameter from the tensors that hold it.

    Args:
        tensors: these tensors, by name.
        info: the parameter's shape and dtype.
        read: reads a tensor.
    """
    name, first = next(iter(tensors.items()))
    if first.pieces == WHOLE:
        return read(name)
    value: FloatArray = np.empty(info.shape, info.dtype)
    for name, tensor in tensors.items():
        tensor.put_back(read(name), value)
    return value


def written_name(naming: Naming, tensors: Mapping[str, list[str]], view: View, shape: Shape) -> str:
    """Return the tensor that holds what a view shows, and which part of it, as `name[start:stop]`.

    Args:
        naming: the written tensors.
        tensors: see `tensors_by_parameter`.
        view: a view of a parameter.
        shape: that parameter's shape.
    """
    elements = np.empty(shape, np.int8)  # takes no memory
    for name in tensors.get(view.parameter, ()):
        pieces = naming[name].pieces
        turns = [step for step in pieces[0] if isinstance(step, Transposed)]
        if len(pieces) == 1 and len(turns) == len(pieces[0]):
            # The parameter as a view of the tensor: of that the part is some rows, or not.
            tensor = np.empty(View("", pieces[0]).shape(shape), np.int8)
            parameter = tensor
            for step in reversed(turns):
                parameter = parameter.transpose(np.argsort(step.axes))
            rows = rows_of(view.of(parameter), tensor)
            return name + (view.part if rows is None else rows)
        start = 0
        for steps in pieces:
            piece = View(view.parameter, steps)
            stop = start + piece.of(elements).shape[0]
            if overlap(piece, view, shape):
                return name if len(pieces) == 1 else f"{name}[{start}:{stop}]"
            start = stop
    return view.parameter + view.part
