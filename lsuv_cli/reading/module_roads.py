"""The roads from a module to an ONNX graph, the quickest that is right first.

Whatever a road makes is run beside the module on a few samples, with another batch size than it was
exported on, and counts only if both compute the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from lsuv_cli.reading.conversion_check import check_conversion
from lsuv_cli.reading.flat_module import FlatModule
from lsuv_cli.reading.model_format import EXAMPLES
from lsuv_cli.reading.module_export import export_program, export_traced
from lsuv_cli.reading.python_decisions import python_decisions
from lsuv_cli.reading.torch_export import ConversionError, trace
from lsuv_cli.reading.torch_program import PREFIX, ConvertedGraph

# Another number than what it was exported on.
CHECKED = EXAMPLES + 1


@dataclass(frozen=True, slots=True)
class Converted:
    """A module as an ONNX graph.

    Attributes:
        graph: the graph.
        road: the exporter, in words.
        doubts: lines of the module's code where a value that may depend on the samples has become
            a constant.
    """

    graph: ConvertedGraph
    road: str
    doubts: Sequence[str] = ()


def convert_module(module: FlatModule, inputs: Mapping[str, torch.Tensor]) -> Converted:
    """Convert a module to ONNX.

    Args:
        module: the module, on the CPU and in eval mode.
        inputs: a value for each of its inputs, of two samples or more.

    Raises:
        ConversionError: no road leads there; the text says why, by road.
    """
    failures: list[str] = []
    doubtful: list[Converted] = []
    for road in (_traced, _exported, _scripted):
        if road is _scripted and doubtful:
            break
        try:
            made = road(module, inputs)
            few = _few(inputs, CHECKED)
            given = dict(zip(inputs, few, strict=True))
            check_conversion(made.graph, partial(module, *few), given)
        except ConversionError as error:
            failures.append(str(error).replace(PREFIX, ""))
            continue
        if not made.doubts:
            return made
        doubtful.append(made)
    if doubtful:
        return doubtful[0]
    raise ConversionError("; ".join(dict.fromkeys(failures)))


def _traced(module: FlatModule, inputs: Mapping[str, torch.Tensor]) -> Converted:
    few = _few(inputs, EXAMPLES)
    graph, warned = export_traced(module, module, few, list(inputs))
    doubts = python_decisions(module, few, warned)
    return Converted(graph, "torch.onnx.export(dynamo=False)", doubts)


def _exported(module: FlatModule, inputs: Mapping[str, torch.Tensor]) -> Converted:
    graph = export_program(module, _few(inputs, EXAMPLES), list(inputs))
    return Converted(graph, "torch.export and torch.onnx.export(dynamo=True)")


def _scripted(module: FlatModule, inputs: Mapping[str, torch.Tensor]) -> Converted:
    few = _few(inputs, EXAMPLES)
    graph, _ = export_traced(trace(module, tuple(few)), module, few, list(inputs))
    return Converted(graph, "torch.jit.trace and torch.onnx.export(dynamo=False)")


def _few(inputs: Mapping[str, torch.Tensor], count: int) -> list[torch.Tensor]:
    """Return the first samples of each input, repeated where there are not as many."""
    return [torch.cat([value] * -(-count // len(value)))[:count] for value in inputs.values()]
