"""Paths of a Keras model's variables, for the parameters of an ONNX file that tf2onnx wrote.

`keras_variables` finds each variable with the layers and models around it. Its path leaves out a
Functional model and all around that, since the layers inside were built before; a container's name
says what it is only where it is Keras' own.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.views import Reshaped
from lsuv_cli.graph.written_tensors import Naming, written_as
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.names.exporter import Shapes
from lsuv_cli.names.keras_variables import Variable, VariableReader, find_variables
from lsuv_cli.reading.model import OnnxModel

_FUNCTIONAL = re.compile(r"(functional|model)(_\d+)?")
_SEQUENTIAL = re.compile(r"sequential(_\d+)?")
_ATTENTION = re.compile(r"(multi_head|grouped_query)_attention(_\d+)?")
# What a subclassed model's input is called; the others have inputs with names of their own.
_SUBCLASSED_INPUT = "args_0"


@dataclass(frozen=True, slots=True)
class KerasNames:
    """The recovered paths, and what keeps them from being used.

    Attributes:
        naming: the parameters under Keras' paths, in Keras' shapes.
        folded: layers that a BatchNormalization was folded into.
        lost: layers with a variable whose path is not known.
        ambiguous: models or layers around others that may be Functional models or not.
    """

    naming: Naming
    folded: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)


def keras_names(
    model: OnnxModel,
    layer_nodes: Sequence[LayerNode],
    parameters: Mapping[str, TensorInfo],
    like: Shapes | None = None,
) -> KerasNames:
    """Name parameters by the paths of Keras' variables, in Keras' shapes.

    Constants that are not variables, or whose variable is not known, are left out.

    Args:
        model: the model.
        layer_nodes: its layers.
        parameters: shape and dtype of each parameter to be written.
        like: paths and shapes of the model's variables, if known.
    """
    reader = VariableReader(model, layer_nodes)
    folded = [layer_node.layer.name for layer_node in layer_nodes if reader.is_folded(layer_node)]
    variables, lost = find_variables(reader, layer_nodes, parameters)
    ambiguous: list[str] = []
    paths: dict[str, str] = {}
    for source, variable in variables.items():
        path = (
            _path_by_containers(model, variable, ambiguous)
            if like is None
            else _path_in_checkpoint(variable, like)
        )
        if path:
            paths[source] = path
        elif like is not None:
            lost.append(variable.owner)
    uses = Counter(paths.values())
    lost += [variables[source].owner for source, path in paths.items() if uses[path] > 1]
    naming = {}
    for source, path in paths.items():
        steps, info = variables[source].steps, parameters[source]
        tensor = written_as(source, info, (steps,))
        shape = (like or {}).get(path, tensor.info.shape)
        if shape != tensor.info.shape and math.prod(shape) == math.prod(tensor.info.shape):
            # Nothing in the file tells an axis of one, such as that of attention's only head.
            tensor = written_as(source, info, ((*steps, Reshaped(shape)),))
        naming[path] = tensor
    return KerasNames(naming, folded, _distinct(lost), _distinct(ambiguous))


def _distinct(names: list[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, names)))


def _path_by_containers(model: OnnxModel, variable: Variable, ambiguous: list[str]) -> str:
    """Return a variable's path by its containers' default names; "" if these are ambiguous."""
    start = len(variable.path) - 1
    while start:
        around = variable.path[start - 1]
        outermost = start == 1
        if _FUNCTIONAL.fullmatch(around):
            break
        if _SEQUENTIAL.fullmatch(around):
            # One with an Input was built before what is around it, as a Functional model was.
            if not outermost and not _FUNCTIONAL.fullmatch(variable.path[start - 2]):
                ambiguous.append(around)
                return ""
        elif not _ATTENTION.fullmatch(around) and not (
            outermost and model.inputs[0].name == _SUBCLASSED_INPUT
        ):
            ambiguous.append(around)
            return ""
        start -= 1
    return "/".join((*variable.path[start:], variable.name))


def _path_in_checkpoint(variable: Variable, like: Shapes) -> str:
    """Return a variable's path as a checkpoint has it; "" if the checkpoint has none that fits."""
    for start in range(len(variable.path)):
        path = "/".join((*variable.path[start:], variable.name))
        if path in like:
            return path
    return ""
