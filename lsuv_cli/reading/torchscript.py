"""TorchScript files: told apart from checkpoints, converted to ONNX in memory.

torch is imported here only, and only for such files.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray

from lsuv_cli.core.errors import DataError, ModelError
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.nodes import rename_captured
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.graph.torch_origin import MADE_UP
from lsuv_cli.graph.written_tensors import Naming, Stored, stored_as
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.reading.onnx_file import source_of
from lsuv_cli.reading.torch_export import (
    ConversionError,
    export,
    first_line,
    trace,
    why_it_does_not_run,
)

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]
Storage = tuple[int, tuple[int, ...], tuple[int, ...]]

# Enough for the exporter to see which axes are the batch's; it does not look at the values.
EXAMPLES = 2

PICKLE_PROTOCOL_2 = b"\x80\x02"


def is_torch_file(path: Path, content: bytes | None = None) -> bool:
    """Whether a file was written by torch.save or torch.jit.save, by its first bytes."""
    try:
        with _open(path, content) as file:
            head = file.read(4)
    except OSError:
        return False
    return head.startswith((b"PK\x03\x04", PICKLE_PROTOCOL_2))


class TorchScript:
    """An open TorchScript file.

    Attributes:
        path: the file.
        inputs: the inputs by name; TorchScript does not tell their shapes.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Open a file.

        Args:
            path: the file.
            content: its bytes, where they are there already.

        Raises:
            ModelError: it is no TorchScript, but a checkpoint, or broken.
        """
        _refuse_checkpoint(path, content)
        import torch

        self.path = path
        self._content = content
        try:
            load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
            file = str(path) if content is None else io.BytesIO(content)
            self._module = load(file, map_location="cpu").eval()
        except RuntimeError as error:
            raise ModelError(
                f"{path} can't be loaded as TorchScript, or is cut short: {first_line(error)}"
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
            DataError: it can't be run on the feeds.
        """
        import torch

        examples = tuple(
            torch.from_numpy(np.array(feeds[spec.name][:EXAMPLES])) for spec in self.inputs
        )
        names = [spec.name for spec in self.inputs]
        try:
            proto = export(self._module, examples, names)
        except ConversionError as scripted:
            # A scripted module may keep types open that the exporter needs; a trace tells them.
            try:
                proto = export(trace(self._module, examples), examples, names)
            except ConversionError as error:
                self._refuse_misfit(examples)
                raise self._refusal(str(scripted), str(error)) from None
        self._tie(proto)
        with _open(self.path, self._content) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
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

    def _refuse_misfit(self, examples: tuple[torch.Tensor, ...]) -> None:
        """Refuse what the module itself can't be run on.

        Raises:
            DataError: it can't; its text says why.
        """
        reason = why_it_does_not_run(self._module, examples)
        if not reason:
            return
        given = ", ".join(
            f"{spec.name}:{','.join(map(str, example.shape[1:]))}"
            for spec, example in zip(self.inputs, examples, strict=True)
        )
        if "index out of range" in reason:
            raise DataError(
                f"{self.path} can't be run on these samples: a token id, or another index, is out "
                f"of an embedding's range ({reason}); give ids of the model's own tokenizer"
            )
        raise DataError(
            f"{self.path} can't be run on samples of the shape {given}: {reason}; give samples, or "
            "--input-shape without the batch axis, as the model takes them"
        )

    def _refusal(self, as_it_is: str, traced: str) -> ModelError:
        same = as_it_is.startswith(traced.partition(" in the module")[0])
        also = "" if same else f" (and traced: {traced})"
        return ModelError(
            f"PyTorch's exporter can't convert {self.path} to ONNX: {as_it_is}{also}; replace the "
            "operation, or export the model to ONNX yourself"
        )

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

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of the module's state_dict."""
        return {name: tuple(value.shape) for name, value in self._module.state_dict().items()}

    def with_values(self, tensors: Mapping[str, Array]) -> bytes:
        """The module with other values, as the bytes of a TorchScript file.

        Args:
            tensors: a value for each name of its state_dict, in whatever precision.
        """
        import torch

        state = {name: _as_tensor(tensors[name]) for name in self._module.state_dict()}
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


def _open(path: Path, content: bytes | None) -> io.BufferedIOBase:
    return path.open("rb") if content is None else io.BytesIO(content)


def _refuse_checkpoint(path: Path, content: bytes | None) -> None:
    """Refuse what torch.save wrote, without unpickling it."""
    try:
        with _open(path, content) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        names = []
        with _open(path, content) as file:
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


def _as_tensor(value: Array) -> torch.Tensor:
    """A copy of an array; torch takes bfloat16 as integers of its size."""
    import torch

    if value.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(value.view(np.int16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(value))
