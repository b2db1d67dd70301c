"""Comparison of an ONNX graph with the PyTorch module that it was converted from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.rounding import moved
from lsuv_cli.graph.torch_arrays import as_numpy
from lsuv_cli.reading.torch_export import ConversionError, quiet
from lsuv_cli.reading.torch_program import ConvertedGraph
from lsuv_cli.runtime.run_model import run_model

if TYPE_CHECKING:
    import torch

# Of the largest output.
TOLERANCE = 1e-3
HALF_TOLERANCE = 5e-2
# Of what one random rounding does to the outputs.
ROUNDING_MARGIN = 4.0


def check_conversion(
    graph: ConvertedGraph,
    run: Callable[[], Sequence[torch.Tensor]],
    inputs: Mapping[str, torch.Tensor],
) -> None:
    """Check that a graph computes what the module computes.

    Nothing is compared where the module is random, or computes in bfloat16, which ONNX Runtime does
    not on the CPU.

    Args:
        graph: the graph.
        run: runs the module on the inputs; called twice.
        inputs: a few samples of each input, by its name in the graph.

    Raises:
        ConversionError: it computes something else, or ONNX Runtime can't run it.
    """
    import torch

    with torch.no_grad(), quiet():
        expected, again = run(), run()
    dtypes = {source.info.dtype.name for source in graph.parameters.values()}
    is_random = any(
        not torch.equal(one.nan_to_num(), other.nan_to_num())
        for one, other in zip(expected, again, strict=True)
    )
    if is_random or "bfloat16" in dtypes:
        return
    model, feeds = _runnable(graph)
    feeds |= {name: as_numpy(value) for name, value in inputs.items()}
    taken = {value.name for value in model.graph.input}
    try:
        found = run_model(
            model.SerializeToString(), {name: feeds[name] for name in feeds.keys() & taken}
        )
    except ModelError as error:
        raise ConversionError(f"ONNX Runtime can't run what the exporter makes: {error}") from None
    wanted = [as_numpy(value) for value in expected]
    tolerance = HALF_TOLERANCE if "float16" in dtypes else TOLERANCE
    if _are_close(found, wanted, tolerance):
        return
    # Where the network amplifies rounding, two ways to compute the same differ as much.
    generator = np.random.default_rng(0)
    nudged = {
        name: moved(value, generator) if name in graph.parameters else value
        for name, value in feeds.items()
        if name in taken
    }
    rounding = run_model(model.SerializeToString(), nudged)
    tolerance = max(tolerance, ROUNDING_MARGIN * _difference(rounding, found))
    if not _are_close(found, wanted, tolerance):
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


def _are_close(
    found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]], tolerance: float
) -> bool:
    return len(found) == len(expected) and all(
        _is_close(one, other, tolerance) for one, other in zip(found, expected, strict=True)
    )


def _difference(found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> float:
    """Return the largest difference of an output's elements, relative to its largest element."""
    differences = [0.0]
    for one, other in zip(found, expected, strict=True):
        size = np.abs(np.nan_to_num(other.astype(np.float64))).max(initial=0.0)
        if one.shape == other.shape and size:
            distance = np.abs(np.nan_to_num(one.astype(np.float64) - other.astype(np.float64)))
            differences.append(float(distance.max(initial=0.0) / size))
    return max(differences)


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
