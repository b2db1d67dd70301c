"""Names of a PyTorch module's state_dict, for the parameters of recurrent layers.

Where an exporter folds constants, it puts the gates in ONNX's order, both directions together and
both biases in one row; PyTorch keeps `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0` and `bias_hh_l0`
apart, with `_reverse` for the other direction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lsuv_cli.graph.operators.table import operator_of
from lsuv_cli.graph.recurrence import RecurrentCell
from lsuv_cli.graph.torch_origin import MADE_UP, module_path, scopes
from lsuv_cli.graph.views import Reshaped, Sliced
from lsuv_cli.graph.written_tensors import Pieces
from lsuv_cli.reading.model import OnnxModel

# PyTorch's order of the gates, by ONNX's letters.
TORCH_GATES = {"LSTM": "ifco", "GRU": "rzh", "RNN": "i"}
DIRECTIONS = ("", "_reverse")


def recurrent_names(model: OnnxModel) -> dict[str, Mapping[str, Pieces]]:
    """Return for each folded parameter of a recurrent layer PyTorch's tensors, as pieces of it."""
    layers: dict[str, list[str]] = {}
    found: dict[str, Mapping[str, Pieces]] = {}
    # Where other parameters are in modules, a layer without a path has lost it.
    in_modules = any("." in name for name in model.parameters if not _is_made_up(model, name))
    for cell in model.recurrent_cells:
        module = _module(cell)
        if module is None or cell.weight in found or not _is_made_up(model, cell.weight):
            continue
        if not module and in_modules:
            continue
        # A module with several layers is as many nodes; one that is called twice is the same.
        weights = layers.setdefault(module, [])
        if cell.weight not in weights:
            weights.append(cell.weight)
        stem = f"_l{weights.index(cell.weight)}"
        prefix = f"{module}." if module else ""
        found |= _tensors(cell, prefix, stem, model)
    return found


def _is_made_up(model: OnnxModel, name: str) -> bool:
    if model.signature is not None:
        return not model.signature.is_unchanged(name)
    return MADE_UP.fullmatch(name) is not None


def _module(cell: RecurrentCell) -> str | None:
    """Return the path of the operator's module; None if neither metadata nor name tells it."""
    if scope := scopes(cell.node):
        return scope[-2] if len(scope) > 1 else ""
    return module_path(cell.node.name) if cell.node.name.startswith("/") else None


def _tensors(
    cell: RecurrentCell, prefix: str, stem: str, model: OnnxModel
) -> dict[str, Mapping[str, Pieces]]:
    letters = operator_of(cell.node).gates
    count, hidden = len(letters), model.parameters[cell.recurrent].shape[2]
    gates = [letters.index(letter) for letter in TORCH_GATES[cell.node.op_type]]
    found: dict[str, Mapping[str, Pieces]] = {}
    kinds = [(cell.weight, "weight_ih", 0), (cell.recurrent, "weight_hh", 0)]
    if cell.bias:
        kinds += [(cell.bias, "bias_ih", 0), (cell.bias, "bias_hh", count)]
    for parameter, kind, offset in kinds:
        shape = model.parameters[parameter].shape
        rows = [gate + offset for gate in gates]
        tensors = {
            f"{prefix}{kind}{stem}{DIRECTIONS[direction]}": tuple(
                _rows(direction, rows, hidden, shape[2:])
            )
            for direction in range(shape[0])
        }
        found[parameter] = {**found.get(parameter, {}), **tensors}
    return found


def _rows(
    direction: int, gates: Sequence[int], hidden: int, rest: tuple[int, ...]
) -> Iterator[tuple[Sliced, Reshaped]]:
    for gate in gates:
        rows = (gate * hidden, (gate + 1) * hidden, None)
        yield Sliced(((direction, direction + 1, None), rows)), Reshaped((hidden, *rest))
