"""Programs of torch.export: loaded from a file, and converted to ONNX in memory.

Nothing is folded, so that every initializer keeps the name that its tensor has in the state_dict.
"""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.fixed import IS_BUFFER, IS_CONSTANT, NO_GRADIENT
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.new_nodes import NewNames
from lsuv_cli.graph.nodes import FLOAT_TYPES
from lsuv_cli.graph.parameters import ParameterSource, ParameterSources
from lsuv_cli.reading.pt2_archive import SAVE_CALL, Archive
from lsuv_cli.reading.torch_export import ConversionError, first_line, quiet

if TYPE_CHECKING:
    import torch

MODULE_STACK = "nn_module_stack"
MODULE = "_lsuv_module"
PREFIX = f"{MODULE}."


@dataclass(frozen=True, slots=True)
class ConvertedGraph:
    """A program as an ONNX graph.

    Attributes:
        skeleton: the graph without its floating-point initializers.
        parameters: these, by the names that they have in the program.
        renamed: the names in the graph of those that have another one there, by the program's.
        fixed: why training does not change some of them, by their names in the graph.
    """

    skeleton: onnx.ModelProto
    parameters: ParameterSources
    renamed: Mapping[str, str]
    fixed: Mapping[str, str]


def load_program(
    path: Path, content: bytes | None, archive: Archive
) -> torch.export.ExportedProgram:
    """Load a program that `check_archive` let pass.

    Args:
        path: the file.
        content: its bytes, if they have been read already.
        archive: what is in it.

    Raises:
        ModelError: this version of PyTorch can't load it.
    """
    import torch

    from lsuv_cli.reading.torch_operators import (
        known_operators,
        missing_operator,
        without_known_operators,
    )

    with _logged_errors() as logged, known_operators() as were_defined:
        try:
            program = torch.export.load(str(path) if content is None else io.BytesIO(content))
            if were_defined:
                program = without_known_operators(program)
            return _without_guards(program)
        except Exception as error:  # noqa: BLE001 - whatever PyTorch's reader stumbles over
            cause = (logged or [error])[0]
    operator = missing_operator(str(cause))
    if operator:
        package = operator.partition("::")[0]
        raise ModelError(
            f"{path} calls {operator}, an operator that PyTorch does not have: a package registers "
            "it when it is imported, and lsuv imports nothing that a file names; export the model "
            f"without it, or import {package} in Python and call lsuv_cli.initialize there"
        )
    written = f"PyTorch {archive.torch_version}" if archive.torch_version else "another PyTorch"
    raise ModelError(
        f"{path} was saved by {written} and can't be loaded by PyTorch {torch.__version__} "
        f"({first_line(cause)}); export it anew with this version, by {SAVE_CALL}"
    ) from None


def _without_guards(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Drop the checks of inputs that a program was saved with, which PyTorch would execute."""
    if hasattr(program, "_guards_code"):
        program._guards_code = []  # noqa: SLF001
    return program


def on_cpu(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return a program that computes on the CPU.

    Args:
        program: the program; not modified.
    """
    import torch

    if all(value.device.type == "cpu" for value in program.state_dict.values()):
        return program
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(copy.deepcopy(program), torch.device("cpu"))


def without_clashes(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Return a program whose tensors have no names that PyTorch's graphs have for themselves.

    Args:
        program: the program; not modified.

    Returns:
        The program, or one that computes the same with `PREFIX` before the names of its tensors:
        `code` and `graph`, for example, can't be attributes of a graph.
    """
    import torch

    taken = set(dir(torch.fx.GraphModule))
    if taken.isdisjoint(
        name.partition(".")[0] for name in (*program.state_dict, *program.constants)
    ):
        return program
    signature = copy.deepcopy(program.graph_signature)
    for spec in (*signature.input_specs, *signature.output_specs):
        if spec.target in program.state_dict or spec.target in program.constants:
            spec.target = PREFIX + spec.target
    return torch.export.ExportedProgram(
        root=program.graph_module,
        graph=program.graph,
        graph_signature=signature,
        state_dict={PREFIX + name: value for name, value in program.state_dict.items()},
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        constants={PREFIX + name: value for name, value in program.constants.items()},
        verifiers=program.verifiers,
    )


@contextmanager
def _logged_errors() -> Iterator[list[BaseException]]:
    """Collect the errors that PyTorch logs and then replaces by another; nothing is printed."""
    errors: list[BaseException] = []

    def collect(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            errors.append(record.exc_info[1])
        return False

    handlers = [
        handler
        for name in (None, "torch", "torch.export")
        for handler in logging.getLogger(name).handlers
    ]
    for handler in handlers:
        handler.addFilter(collect)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield errors
    finally:
        for handler in handlers:
            handler.removeFilter(collect)


def convert(
    program: torch.export.ExportedProgram, names: Sequence[str] | None = None
) -> ConvertedGraph:
    """Convert a program to ONNX.

    Args:
        program: the program; `PREFIX` is taken from the names of its tensors.
        names: of its inputs; None for those that they have.

    Raises:
        ConversionError: PyTorch's exporter can't.
    """
    import torch

    from lsuv_cli.reading.torch_decompositions import with_exportable_operators

    with quiet():
        try:
            exportable = with_exportable_operators(program)
            made: Any = torch.onnx.export(
                exportable, (), None, dynamo=True, optimize=False, verbose=False
            )
        except Exception as error:  # noqa: BLE001 - decompositions raise errors of any type
            raise ConversionError(_reason(error)) from None
    graph = made.model.graph
    keys = _input_names(program)
    for value, name in zip(
        graph.inputs, names or [keys.get(one.name, one.name) for one in graph.inputs], strict=True
    ):
        value.name = name
    _drop_prefix(graph)
    renamed = _separate_names(graph)
    parameters = {}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and int(tensor.dtype) in FLOAT_TYPES:
            # Left in the graph, they would be copied with it, and all but fill a message.
            info = TensorInfo(tuple(tensor.shape.numpy()), tensor.dtype.numpy())
            parameters[name] = ParameterSource(info, partial(_read, tensor))
            del graph.initializers[name]
    fixed = dict(_fixed(program, parameters, renamed))
    return ConvertedGraph(made.model_proto, parameters, renamed, fixed)


def with_known_ties(source: ModelSource, converted: ConvertedGraph) -> ModelSource:
    """Return a converted module's source with what is known of its tensors."""
    trained = frozenset(converted.parameters.keys() - converted.fixed.keys())
    return replace(source, fixed=converted.fixed, trained=trained, ties_are_known=True)


def _drop_prefix(graph: Any) -> None:
    """Drop `PREFIX` from the names of a graph's tensors, and from what it tells of modules."""
    for name in [name for name in graph.initializers if name.startswith(PREFIX)]:
        value = graph.initializers.pop(name)
        value.name = name.removeprefix(PREFIX)
        graph.initializers[value.name] = value
    for one in (graph, *graph.all_nodes()):
        for key, text in one.metadata_props.items():
            if MODULE in text:
                shorter = text.replace(f"'{MODULE}', ", "").replace(PREFIX, "")
                one.metadata_props[key] = shorter


def _fixed(
    program: torch.export.ExportedProgram, stored: Iterable[str], renamed: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the stored tensors that training does not change, and the reasons."""
    signature = program.graph_signature
    originals = {new: old for old, new in renamed.items()}
    without_prefix = {name.removeprefix(PREFIX): name for name in program.state_dict}
    parameters = set(signature.parameters)
    buffers = {name.removeprefix(PREFIX) for name in signature.buffers}
    for name in stored:
        original = originals.get(name, name)
        target = without_prefix.get(original, original)
        if target in parameters:
            if not program.state_dict[target].requires_grad:
                yield name, NO_GRADIENT
        else:
            yield name, IS_BUFFER if original in buffers else IS_CONSTANT


def _input_names(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Return the keys of those inputs that are given in a dictionary, by the inputs' names."""
    spec = program.call_spec.in_spec
    values = program.graph_signature.user_inputs
    if spec is None:
        return {}
    found: dict[str, list[str]] = {}

    def walk(tree: Any, key: str) -> None:
        if isinstance(tree, dict):
            for name, one in tree.items():
                walk(one, str(name))
        elif isinstance(tree, (list, tuple)):
            for one in tree:
                walk(one, "")
        elif isinstance(tree, str):
            found.setdefault(key or tree, []).append(tree)

    walk(spec.unflatten(values), "")
    return {those[0]: key for key, those in found.items() if len(those) == 1 and those[0] != key}


def _separate_names(graph: Any) -> dict[str, str]:
    """Give each value of an exporter's graph a name of its own.

    The exporter names parameters as the state_dict does, and other values as the program does, so
    that a buffer `index` meets the output of a node `index`.

    Args:
        graph: the graph, of onnx_ir; changed.

    Returns:
        The new names of the parameters that have the names of inputs, by the old ones.
    """
    inputs = {value.name for value in graph.inputs}
    outputs = [value for node in graph.all_nodes() for value in node.outputs]
    taken = {*inputs, *graph.initializers, *(value.name for value in outputs)}
    names = NewNames(taken)
    for value in outputs:
        if value.name in graph.initializers:
            value.name = names.new(value.name)
    renamed = {}
    for name in [name for name in graph.initializers if name in inputs]:
        value = graph.initializers.pop(name)
        renamed[name] = value.name = names.new(name)
        graph.initializers[value.name] = value
    return renamed


def _read(tensor: Any) -> Any:
    array = tensor.numpy()
    array.flags.writeable = False
    return array


def _reason(error: BaseException) -> str:
    """Return what an exporter's error says, and the module that it is in."""
    chain = list(_causes(error))
    text = first_line(Exception(re.sub(r"<OpOverload\(op='([\w.]+)'.*?\)>", r"\1", str(chain[-1]))))
    where = ""
    for one in chain:
        for node in _nodes(one):
            path = module_of(node)
            where = f" in the module {path}" if path else where
    return text + where


def module_of(node: torch.fx.Node) -> str:
    """Return the path of the module that a node of a program is from; "" for the outermost."""
    stack = node.meta.get(MODULE_STACK) or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _nodes(error: BaseException) -> Iterator[torch.fx.Node]:
    """Yield the nodes that the exporter was at: its texts don't tell their modules."""
    import torch

    trace = error.__traceback__
    while trace is not None:
        for value in trace.tb_frame.f_locals.values():
            if isinstance(value, torch.fx.Node):
                yield value
        trace = trace.tb_next
