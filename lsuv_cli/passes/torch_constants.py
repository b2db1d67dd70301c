"""Constant nodes of PyTorch's older exporter, which are no parameters of the module."""

from __future__ import annotations

import re

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.fixed import IS_CONSTANT
from lsuv_cli.graph.torch_origin import is_from_dynamo, is_from_torch
from lsuv_cli.passes.pipeline import Pass

# The value of a Constant node, which tools that shorten graphs store as an initializer.
_CONSTANT = re.compile(r"/(.*/)?Constant(_\d+)?_output_0")
_RECURRENT = frozenset(("LSTM", "GRU", "RNN"))
_WEIGHTS = slice(1, 4)


def fix_constants(graph: EditableGraph) -> None:
    """Have the constants of a file be fixed, unless they may be parameters after all.

    Of scripted modules the exporter stores the weights of recurrent layers as Constant nodes.
    """
    if not is_from_torch(graph.model) or is_from_dynamo(graph.model):
        return
    weights = [
        name for node in graph.nodes if node.op_type in _RECURRENT for name in node.input[_WEIGHTS]
    ]
    read = {name for node in graph.needed(weights) for name in node.input}
    constants = graph.constants.difference(weights, read, graph.trained)
    constants.update(name for name in graph.stored if _CONSTANT.fullmatch(name))
    for name in sorted(constants):
        graph.fixed.setdefault(name, IS_CONSTANT)


PASS = Pass("torch_constants", fix_constants, requires=("constant_parameters",))
