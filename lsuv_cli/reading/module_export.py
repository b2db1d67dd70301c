"""A PyTorch module in memory as an ONNX graph, by either of PyTorch's exporters.

The older exporter is much quicker (ResNet-50: 7 s against 25 s) and knows fewer operators. It is
asked for a graph without weights, whose inputs are then the module's tensors under their own names:
none is folded, renamed, or stored once because it equals another.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import numpy_helper

from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.fixed import IS_BUFFER, NO_GRADIENT
from lsuv_cli.graph.new_nodes import NewNames
from lsuv_cli.graph.nodes import names_in, rename_captured
from lsuv_cli.graph.parameters import ParameterSource
from lsuv_cli.graph.torch_arrays import as_numpy
from lsuv_cli.reading.torch_export import ConversionError, first_line, quiet, where_in_module
from lsuv_cli.reading.torch_program import MODULE, PREFIX, ConvertedGraph, convert
from lsuv_cli.reading.torch_state import Storage, storage

if TYPE_CHECKING:
    import torch

    from lsuv_cli.reading.flat_module import FlatModule


# torch.jit does not export the class.
TRACER_WARNING = "TracerWarning"


def export_program(
    module: FlatModule, examples: Sequence[torch.Tensor], names: Sequence[str]
) -> ConvertedGraph:
    """Convert a module by torch.export and PyTorch's newer exporter, the batch axis dynamic.

    Args:
        module: the module.
        examples: two samples for each of its inputs.
        names: of the inputs.

    Raises:
        ConversionError: torch.export or the exporter can't.
    """
    import torch

    batch = torch.export.Dim("batch")
    with quiet():
        try:
            program = torch.export.export(
                module, tuple(examples), dynamic_shapes=(tuple({0: batch} for _ in examples),)
            )
        except Exception as error:  # noqa: BLE001 - it runs the module's code, which may raise any
            raise ConversionError(first_line(error)) from None
    return convert(program, names)


def export_traced(
    function: FlatModule | torch.jit.ScriptModule,
    module: FlatModule,
    examples: Sequence[torch.Tensor],
    names: Sequence[str],
) -> tuple[ConvertedGraph, frozenset[str]]:
    """Convert a module by PyTorch's older exporter, the batch axis dynamic.

    Args:
        function: the module, or a trace of it.
        module: the module.
        examples: two samples for each of its inputs.
        names: of the inputs.

    Returns:
        The graph, and the lines, as `file:line`, of which the tracer has warned: a tensor may
        have become a constant there.

    Raises:
        ConversionError: the exporter can't.
    """
    import torch

    buffer = io.BytesIO()
    with quiet() as printed, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            torch.onnx.export(
                function,
                tuple(examples),
                buffer,  # type: ignore[arg-type] # the older exporter takes files
                dynamo=False,
                export_params=False,
                keep_initializers_as_inputs=True,
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
                input_names=list(names),
                dynamic_axes={name: {0: "batch"} for name in names},
            )
        except Exception as error:  # noqa: BLE001 - it runs the module's code, which may raise any
            printed.seek(0)
            place = where_in_module(error, printed.read())
            raise ConversionError(f"{first_line(error)}{place}") from None
    proto = onnx.ModelProto.FromString(buffer.getvalue())
    warned = {
        f"{Path(one.filename)}:{one.lineno}"
        for one in caught
        if one.category.__name__ == TRACER_WARNING
    }
    return _with_tensors(proto, module, names), frozenset(warned)


def _with_tensors(
    proto: onnx.ModelProto, module: FlatModule, names: Sequence[str]
) -> ConvertedGraph:
    """Take a module's tensors from among a graph's inputs.

    Args:
        proto: the graph; changed.
        module: the module that it was exported from.
        names: of the inputs that stay.
    """
    graph = proto.graph
    # The graph of a trace takes buffers that are not persistent, too.
    tensors = {**dict(module.named_buffers()), **module.state_dict(keep_vars=True)}
    given = [value for value in graph.input if value.name in names]
    own_names = [value.name for value in graph.input if value.name not in names]
    new_names = NewNames(names_in(graph))
    in_graph: dict[str, str] = {}
    by_storage: dict[Storage, str] = {}
    parameters: dict[str, ParameterSource] = {}
    for name in own_names:
        tensor = tensors[name]
        tied = by_storage.get(storage(tensor))
        in_graph[name] = tied or new_names.new(name.removeprefix(PREFIX))
        if tied is not None:
            continue
        by_storage[storage(tensor)] = in_graph[name]
        if tensor.is_floating_point():
            parameters[in_graph[name]] = _source(tensor)
        else:
            value = numpy_helper.from_array(as_numpy(tensor.contiguous()), in_graph[name])
            graph.initializer.append(value)
    del graph.input[:]
    graph.input.extend(given)
    for node in graph.node:
        # A child of a Sequential repeats its parent's name.
        node.name = node.name.replace(f"/{MODULE}/", "/", 1).replace(f"/{MODULE}.", "/", 1)
        node.input[:] = [in_graph.get(value, value) for value in node.input]
        rename_captured(node, in_graph)
    originals = {new: old.removeprefix(PREFIX) for old, new in in_graph.items()}
    renamed = {old: new for new, old in originals.items() if new != old}
    trained = dict(module.named_parameters(remove_duplicate=False))
    fixed = {
        name: NO_GRADIENT if PREFIX + originals[name] in trained else IS_BUFFER
        for name in parameters
        if not tensors[PREFIX + originals[name]].requires_grad
    }
    return ConvertedGraph(proto, parameters, renamed, fixed)


def _source(tensor: torch.Tensor) -> ParameterSource:
    value = tensor.detach()
    sample = as_numpy(value.flatten()[:0])
    return ParameterSource(TensorInfo(tuple(value.shape), sample.dtype), partial(_read, value))


def _read(tensor: torch.Tensor) -> FloatArray:
    array: FloatArray = as_numpy(tensor.contiguous())
    return array
