"""TorchScript files: told apart from checkpoints, converted to ONNX in memory.

torch is imported here only, and only for such files.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import re
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.model.exporter import MADE_UP
from lsuv_cli.model.nodes import rename_captured
from lsuv_cli.model.onnx_file import ModelSource, source_of
from lsuv_cli.model.onnx_model import OnnxModel
from lsuv_cli.model.parameters import Parameters
from lsuv_cli.model.stored import Naming, Stored, stored_as

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]
Storage = tuple[int, tuple[int, ...], tuple[int, ...]]

# Enough for the exporter to see which axes are the batch's; it does not look at the values.
EXAMPLES = 2

PICKLE_PROTOCOL_2 = b"\x80\x02"


def is_torch_file(path: Path) -> bool:
    """Whether a file was written by torch.save or torch.jit.save, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return False
    return head.startswith((b"PK\x03\x04", PICKLE_PROTOCOL_2))


class _ConversionError(Exception):
    """The exporter can't convert a module; its text says what, and in which module."""


class TorchScript:
    """An open TorchScript file.

    Attributes:
        path: the file.
        inputs: the inputs by name; TorchScript does not tell their shapes.
    """

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            ModelError: it is no TorchScript, but a checkpoint, or broken.
        """
        _refuse_checkpoint(path)
        import torch

        self.path = path
        try:
            load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
            self._module = load(str(path), map_location="cpu").eval()
        except RuntimeError as error:
            raise ModelError(
                f"{path} can't be loaded as TorchScript, or is cut short: {_first_line(error)}"
            ) from None
        forward: Any = self._module.forward
        arguments = forward.schema.arguments[1:]
        self.inputs = tuple(
            InputSpec(argument.name, "", None)
            for argument in arguments
            if not argument.has_default_value()
        )
        strange = [a.name for a in arguments if str(a.type) not in ("Tensor", "Optional[Tensor]")]
        if strange:
            raise ModelError(
                f"{path}: the input {strange[0]} of its forward is no tensor; trace the module "
                "with torch.jit.trace on tensors alone"
            )

    def convert(self, feeds: Feeds) -> ModelSource:
        """Convert to ONNX, nothing folded and nothing renamed.

        Raises:
            ModelError: PyTorch's exporter can't convert it.
        """
        import torch

        examples = tuple(
            torch.from_numpy(np.array(feeds[spec.name][:EXAMPLES])) for spec in self.inputs
        )
        try:
            proto = self._export(self._module, examples)
        except _ConversionError as scripted:
            # A scripted module may keep types open that the exporter needs; a trace tells them.
            try:
                trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace
                with _quiet():
                    traced = trace(self._module, examples, check_trace=False)
                proto = self._export(traced, examples)
            except (_ConversionError, RuntimeError) as error:
                raise self._refusal(str(scripted), _first_line(error)) from None
        self._tie(proto)
        sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return source_of(proto, sha256, self.path)

    def _tie(self, proto: onnx.ModelProto) -> None:
        """Have what is one tensor in the module be one in the graph.

        Of a scripted module the exporter keeps both names of a tied weight, the second as a copy,
        as it does for weights that are only equal.
        """
        state = self._module.state_dict()
        firsts: dict[Storage, str] = {}
        for tensor in proto.graph.initializer:
            if tensor.name in state:
                firsts.setdefault(_storage(state[tensor.name]), tensor.name)
        others: dict[str, str] = {}
        kept = []
        for node in proto.graph.node:
            name = node.output[0] if node.op_type == "Identity" else ""
            if name in state and node.input[0] == firsts.get(_storage(state[name])):
                others[name] = node.input[0]
                continue
            node.input[:] = [others.get(value, value) for value in node.input]
            rename_captured(node, others)
            kept.append(node)
        if others:
            del proto.graph.node[:]
            proto.graph.node.extend(kept)

    def _refusal(self, as_it_is: str, traced: str) -> ModelError:
        also = "" if as_it_is.startswith(traced) else f" (and traced: {traced})"
        return ModelError(
            f"PyTorch's exporter can't convert {self.path} to ONNX: {as_it_is}{also}; replace the "
            "operation, or export the model to ONNX yourself"
        )

    def _export(
        self, module: torch.jit.ScriptModule, examples: tuple[torch.Tensor, ...]
    ) -> onnx.ModelProto:
        import torch

        register: Callable[..., None] = getattr(torch.onnx, "register_custom_op_symbolic")  # noqa: B009 - not in the stubs
        register("aten::unflatten", _unflatten, 13)
        names = [spec.name for spec in self.inputs]
        buffer = io.BytesIO()
        with _quiet() as caught:
            try:
                torch.onnx.export(
                    module,
                    examples,
                    buffer,  # type: ignore[arg-type] # the TorchScript exporter takes files
                    dynamo=False,
                    training=torch.onnx.TrainingMode.PRESERVE,
                    do_constant_folding=False,
                    input_names=names,
                    dynamic_axes={name: {0: "batch"} for name in names},
                )
            except RuntimeError as error:
                caught.seek(0)
                where = _where(error, caught.read())
                raise _ConversionError(f"{_first_line(error)}{where}") from None
        return onnx.ModelProto.FromString(buffer.getvalue())

    def naming(self, model: OnnxModel, parameters: Parameters) -> tuple[Naming, dict[str, Array]]:
        """Every name of the module's state_dict, and the values of what the graph does not hold.

        A tensor with several names is written under each. Of a scripted module's recurrent layers
        the exporter loses the names, and the values tell.
        """
        naming: dict[str, Stored] = {}
        others: dict[str, Array] = {}
        by_storage: dict[Storage, str] = {}
        state: Mapping[str, torch.Tensor] = self._module.state_dict()
        for name, value in state.items():
            if name in model.parameters:
                by_storage[_storage(value)] = name
        nameless = {n: v for n, v in state.items() if _storage(v) not in by_storage}
        for name, parameter in _by_value(model, parameters, nameless).items():
            by_storage[_storage(state[name])] = parameter
        for name, value in state.items():
            source = name if name in model.parameters else by_storage.get(_storage(value), "")
            if source:
                naming[name] = stored_as(source, model.parameters[source])
            else:
                others[name] = _as_numpy(value)
                naming[name] = Stored("", (), TensorInfo(value.shape, others[name].dtype))
        return naming, others

    def with_values(self, tensors: Mapping[str, Array]) -> bytes:
        """The module with other values, as the bytes of a TorchScript file.

        Args:
            tensors: a value for each name of its state_dict.
        """
        import torch

        state = {
            name: torch.from_numpy(np.array(_as_plain(tensors[name]))).view(value.dtype)
            for name, value in self._module.state_dict().items()
        }
        self._module.load_state_dict(state, strict=True)
        # Saved to a path, the file would hold that path's name.
        buffer = io.BytesIO()
        torch.jit.save(self._module, buffer)
        return buffer.getvalue()


def _by_value(
    model: OnnxModel, parameters: Parameters, state: Mapping[str, torch.Tensor]
) -> dict[str, str]:
    """The parameters that have lost their names, by those of the tensors of equal value.

    Among equals, a new layer's zero biases say, both are in the order of the module.
    """
    found: dict[str, str] = {}
    lost = [name for name in model.parameters if MADE_UP.fullmatch(name)]
    for name, value in state.items():
        array = _as_numpy(value)
        for parameter in lost:
            info = model.parameters[parameter]
            if (info.shape, info.dtype) == (array.shape, array.dtype) and np.array_equal(
                parameters.stored(parameter, info.dtype), array
            ):
                found[name] = parameter
                lost.remove(parameter)
                break
    return found


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


def _refuse_checkpoint(path: Path) -> None:
    """Refuse what torch.save wrote, without unpickling it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        names = []
        with path.open("rb") as file:
            if not file.read(2).startswith(PICKLE_PROTOCOL_2):
                raise ModelError(f"{path} is cut short: its end is missing") from None
    if any("/code/" in name or name.startswith("code/") for name in names):
        return
    if names and not any(name.endswith("data.pkl") for name in names):
        raise ModelError(f"{path} is a zip file, neither ONNX nor TorchScript")
    raise ModelError(
        f"{path} is a checkpoint of weights without the network; give TorchScript, made by "
        "torch.jit.trace(model, example).save(...), or ONNX, made by torch.onnx.export(...)"
    )


def _storage(value: torch.Tensor) -> Storage:
    return value.data_ptr(), tuple(value.shape), tuple(value.stride())


def _as_numpy(value: torch.Tensor) -> Array:
    import torch

    value = value.detach().cpu().contiguous()
    if value.dtype == torch.bfloat16:
        return value.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    array: Array = value.numpy()
    return array


def _as_plain(value: Array) -> Array:
    """What torch can take of an array: bfloat16 as integers of its size."""
    return value.view(np.int16) if value.dtype.name == "bfloat16" else value


def _first_line(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0].split("  [Caused by")[0].rstrip(". ")[:300]


@contextlib.contextmanager
def _quiet() -> Iterator[BinaryIO]:
    """Catch what the exporter prints: warnings and, where it fails, the whole graph.

    Some of it comes from C++, past Python's streams; so the descriptors themselves are turned.

    Gives the file in which it is caught.
    """
    with warnings.catch_warnings(), tempfile.TemporaryFile() as caught:
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


def _where(error: Exception, printed: bytes) -> str:
    """The module that holds the operator of which an error speaks; "" where nothing tells.

    Args:
        error: what the exporter raised.
        printed: what it printed: a node a line, with the modules around it.
    """
    operator = re.search(r"'(\w+::\w+)'", str(error))
    if operator is None:
        return ""
    node = re.search(rf" {operator[1]}\(.*scope: (\S+)", printed.decode(errors="replace"))
    modules = [part.rpartition("::")[2] for part in node[1].split("/")] if node else []
    path = ".".join(filter(None, modules))
    return f" in the module {path}" if path else ""
