"""The roads from a module to an ONNX graph, the quickest that is right first.

Whatever a road makes is run beside the module on a few samples, with another batch size than it was
exported on, and counts only if both compute the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper

from lsuv_cli.core.errors import ModelError
from lsuv_cli.graph.torch_arrays import as_numpy
from lsuv_cli.reading.flat_module import FlatModule
from lsuv_cli.reading.model_format import EXAMPLES
from lsuv_cli.reading.module_export import export_program, export_traced
from lsuv_cli.reading.torch_export import ConversionError, quiet, trace
from lsuv_cli.reading.torch_program import PREFIX, ConvertedGraph
from lsuv_cli.runtime.run_model import run_model

# Another number than what it was exported on.
CHECKED = EXAMPLES + 1
TOLERANCE = 1e-3
HALF_TOLERANCE = 5e-2


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
            _check(made.graph, module, inputs)
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
    graph, doubts = export_traced(module, module, _few(inputs, EXAMPLES), list(inputs))
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


def _check(graph: ConvertedGraph, module: FlatModule, inputs: Mapping[str, torch.Tensor]) -> None:
    """Check that a graph computes what the module computes, on another number of samples.

    Raises:
        ConversionError: it does not.
    """
    few = _few(inputs, CHECKED)
    with torch.no_grad(), quiet():
        expected, again = module(*few), module(*few)
    dtypes = {source.info.dtype.name for source in graph.parameters.values()}
    is_random = any(
        not torch.equal(one.nan_to_num(), other.nan_to_num())
        for one, other in zip(expected, again, strict=True)
    )
    if is_random or "bfloat16" in dtypes:  # which ONNX Runtime does not compute with on the CPU
        return
    model, feeds = _runnable(graph)
    feeds |= {name: as_numpy(value) for name, value in zip(inputs, few, strict=True)}
    taken = {value.name for value in model.graph.input}
    try:
        found = run_model(
            model.SerializeToString(), {name: feeds[name] for name in feeds.keys() & taken}
        )
    except ModelError as error:
        raise ConversionError(f"ONNX Runtime can't run what the exporter makes: {error}") from None
    tolerance = HALF_TOLERANCE if "float16" in dtypes else TOLERANCE
    if len(found) != len(expected) or not all(
        _is_close(one, as_numpy(other), tolerance)
        for one, other in zip(found, expected, strict=True)
    ):
        raise ConversionError("what the exporter makes does not compute what the module computes")


def _runnable(graph: ConvertedGraph) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """Return a graph as a model whose parameters are inputs, and their values."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.skeleton)
    feeds = {}
    for name, source in graph.parameters.items():
        kind = helper.np_dtype_to_tensor_dtype(source.info.dtype)
        model.graph.input.append(helper.make_tensor_value_info(name, kind, source.info.shape))
        feeds[name] = source.read()
    return model, feeds


def _is_close(found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> bool:
    if found.shape != expected.shape:
        return False
    size = np.abs(np.nan_to_num(expected.astype(np.float64))).max(initial=0.0)
    return np.allclose(
        found.astype(np.float64),
        expected.astype(np.float64),
        rtol=tolerance,
        atol=tolerance * size,
        equal_nan=True,
    )
