"""PyTorch's exporter for TorchScript: its options, its output and its errors."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import onnx

if TYPE_CHECKING:
    import torch


INTERPRETER = "The following operation failed in the TorchScript interpreter"


class ConversionError(Exception):
    """The exporter can't convert a module; the text names the operation and the module it is in."""


def export(
    module: torch.jit.ScriptModule, examples: tuple[torch.Tensor, ...], names: Sequence[str]
) -> onnx.ModelProto:
    """Convert a module to ONNX, nothing folded and nothing renamed, the batch axis open.

    Args:
        module: the module.
        examples: a tensor for each input.
        names: of the inputs.

    Raises:
        ConversionError: the exporter can't.
    """
    import torch

    register: Callable[..., None] = getattr(torch.onnx, "register_custom_op_symbolic")  # noqa: B009 - not in the stubs
    register("aten::unflatten", _unflatten, 13)
    buffer = io.BytesIO()
    with quiet() as caught:
        try:
            torch.onnx.export(
                module,
                examples,
                buffer,  # type: ignore[arg-type] # the TorchScript exporter takes files
                dynamo=False,
                training=torch.onnx.TrainingMode.PRESERVE,
                do_constant_folding=False,
                input_names=list(names),
                dynamic_axes={name: {0: "batch"} for name in names},
            )
        except RuntimeError as error:
            caught.seek(0)
            place = where_in_module(error, caught.read())
            raise ConversionError(f"{first_line(error)}{place}") from None
    return onnx.ModelProto.FromString(buffer.getvalue())


def trace(module: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> torch.jit.ScriptModule:
    """Trace a module.

    Raises:
        ConversionError: it can't be traced.
    """
    import torch

    tracing: Callable[..., torch.jit.ScriptModule] = torch.jit.trace
    with quiet():
        try:
            return tracing(module, examples, check_trace=False)
        except Exception as error:  # noqa: BLE001 - it runs the module's code, which may raise any
            raise ConversionError(first_line(error)) from None


def _unflatten(graph: Any, value: Any, axis: Any, sizes: Any) -> Any:
    """ONNX for aten::unflatten, which MultiheadAttention uses.

    PyTorch's own loses the rank of what comes out, and the exporter then fails behind it.
    """
    import torch
    from torch.onnx import symbolic_helper

    def constant(number: int) -> Any:
        return graph.op("Constant", value_t=torch.tensor([number]))

    rank = symbolic_helper._get_tensor_rank(value)  # noqa: SLF001 - what symbolics are written with
    parts = symbolic_helper._unpack_list(sizes)  # noqa: SLF001
    if rank is None:
        raise RuntimeError("aten::unflatten of a tensor of unknown rank")
    get_constant: Callable[..., int] = symbolic_helper._get_const  # noqa: SLF001
    position = get_constant(axis, "i", "dim") % rank
    shape = graph.op("Shape", value)
    before = graph.op("Slice", shape, constant(0), constant(position))
    behind = graph.op("Slice", shape, constant(position + 1), constant(rank))
    new = [graph.op("Reshape", part, constant(-1)) for part in parts]
    result = graph.op("Reshape", value, graph.op("Concat", before, *new, behind, axis_i=0))
    result.setType(value.type().with_sizes([None] * (rank - 1 + len(parts))))
    return result


def why_it_does_not_run(module: torch.jit.ScriptModule, examples: tuple[torch.Tensor, ...]) -> str:
    """Return PyTorch's error when the module itself is run; "" where it runs."""
    import torch

    with quiet(), torch.no_grad():
        try:
            module(*examples)
        except RuntimeError as error:
            return first_line(error)
    return ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error of PyTorch's, without the traces in it."""
    text = str(error) or type(error).__name__
    if text.startswith(INTERPRETER):
        # Two traces follow, and then the cause.
        causes = re.findall(r"^[\w.]*(?:Error|Exception): (.*)", text, re.MULTILINE)
        text = causes[-1] if causes and causes[-1] else text
    return text.splitlines()[0].split("  [Caused by")[0].rstrip(". ")[:300]


@contextlib.contextmanager
def quiet() -> Iterator[IO[bytes]]:
    """Catch what the exporter prints: warnings and, where it fails, the whole graph.

    Some of it is written by C++ and not through Python's streams; so the file descriptors
    themselves are redirected.

    Yields:
        The file to which they are redirected.
    """
    with warnings.catch_warnings(), _nameless_file() as caught:
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        kept = []
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
            if stream is not None:
                stream.flush()
            with contextlib.suppress(OSError):  # it may be closed
                kept.append((descriptor, os.dup(descriptor)))
                os.dup2(caught.fileno(), descriptor)
        try:
            yield caught
        finally:
            for descriptor, copy in kept:
                stream = sys.stdout if descriptor == 1 else sys.stderr
                if stream is not None:
                    stream.flush()
                os.dup2(copy, descriptor)
                os.close(copy)
            logging.disable(logging.NOTSET)


def _nameless_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        # In memory: in a container there may be no folder to write to.
        return os.fdopen(os.memfd_create("lsuv"), "w+b")
    return tempfile.TemporaryFile()


def where_in_module(error: Exception, printed: bytes) -> str:
    """Return the module that holds the operator named in an error; "" where it is unknown.

    Args:
        error: the exporter's error.
        printed: its output, with one node per line and the modules around it.
    """
    operator = re.search(r"'(\w+::\w+)'", str(error))
    if operator is None:
        return ""
    node = re.search(rf" {operator[1]}\(.*scope: (\S+)", printed.decode(errors="replace"))
    modules = [part.rpartition("::")[2] for part in node[1].split("/")] if node else []
    path = ".".join(filter(None, modules))
    return f" in the module {path}" if path else ""
