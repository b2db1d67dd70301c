"""TorchScript files: checked not to be checkpoints, and converted to ONNX in memory.

torch is imported only once such a file is opened.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from lsuv_cli.core.errors import DataError, ModelError
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.nodes import rename_captured
from lsuv_cli.graph.pickled import class_of_whole_object
from lsuv_cli.reading.model_format import (
    EXAMPLES,
    ModelFormat,
    file_sha256,
    first_bytes,
    zip_members,
)
from lsuv_cli.reading.onnx_file import source_of
from lsuv_cli.reading.torch_export import (
    ConversionError,
    export,
    first_line,
    trace,
    why_it_does_not_run,
)
from lsuv_cli.reading.torch_fixed import with_fixed
from lsuv_cli.reading.torch_state import Storage, TorchState, doubtful_buffers, storage

if TYPE_CHECKING:
    import torch

PICKLE_PROTOCOL_2 = b"\x80\x02"
# Zip archives, which torch.save and torch.jit.save write, and pickles, which torch.save once wrote.
SIGNATURES = (b"PK\x03\x04", PICKLE_PROTOCOL_2)


class TorchScript:
    """An open TorchScript file.

    Attributes:
        path: the file.
        example_inputs: the inputs, whose shapes TorchScript does not tell.
        state: the module's state_dict.
        road: the exporter, in words.
        doubt: "".
    """

    road = "torch.onnx.export(dynamo=False)"
    doubt = ""

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Open a file.

        Args:
            path: the file.
            content: its bytes, if they have been read already.

        Raises:
            ModelError: it is a checkpoint and no TorchScript, or it is broken.
        """
        _refuse_checkpoint(path, content)
        import torch

        self.path = path
        self._content = content
        try:
            load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
            file = str(path) if content is None else io.BytesIO(content)
            self._module = load(file, map_location="cpu").eval()
        except (RuntimeError, UnicodeDecodeError) as error:  # the latter for names
            raise ModelError(
                f"{path} can't be loaded as TorchScript, or is cut short: {first_line(error)}; "
                "what has been through torch.jit.optimize_for_inference is saved before that, by "
                "torch.jit.trace(model, example).save(...)"
            ) from None
        if not self._module.state_dict():
            raise ModelError(
                f"{path} has no parameters: they are constants of its code, as torch.jit.freeze "
                "and torch.jit.optimize_for_inference make them; save the module before that, by "
                "torch.jit.trace(model.eval(), example).save(...)"
            )
        self.state = TorchState(
            "PyTorch's",
            self._module.state_dict(),
            partial(torch.jit.save, self._module),
            doubtful_buffers(self._module),
        )
        forward: Any = self._module.forward
        arguments = forward.schema.arguments[1:]
        self.example_inputs = tuple(
            InputSpec(argument.name, "", None)
            for argument in arguments
            if not argument.has_default_value()
        )
        strange = [a.name for a in arguments if str(a.type) not in ("Tensor", "Optional[Tensor]")]
        if strange:
            raise ModelError(
                f"{path}: the input {strange[0]} of its forward is not a tensor; trace the module "
                "with torch.jit.trace on tensors alone"
            )

    def source(self, examples: Feeds) -> ModelSource:
        """Convert to ONNX, nothing folded and nothing renamed.

        Args:
            examples: a few samples for each of `example_inputs`, shape (samples, ...).

        Raises:
            ModelError: PyTorch's exporter can't convert it.
            DataError: it can't be run on the examples.
        """
        import torch

        tensors = tuple(
            torch.from_numpy(np.array(examples[spec.name][:EXAMPLES]))
            for spec in self.example_inputs
        )
        names = [spec.name for spec in self.example_inputs]
        try:
            proto = export(self._module, tensors, names)
        except ConversionError as scripted:
            # A scripted module may keep types open that the exporter needs; a trace tells them.
            try:
                proto = export(trace(self._module, tensors), tensors, names)
            except ConversionError as error:
                self._refuse_misfit(tensors)
                raise self._refusal(str(scripted), str(error)) from None
        self._tie(proto)
        source = source_of(proto, file_sha256(self.path, self._content), self.path)
        parameters = dict(self._module.named_parameters(remove_duplicate=False))
        return with_fixed(source, self._module.state_dict(), parameters)

    def _tie(self, proto: onnx.ModelProto) -> None:
        """Have one tensor of the module be one tensor of the graph.

        Of a scripted module the exporter keeps both names of a tied weight, the second as a copy of
        the first, just as it does for two weights that are merely equal.
        """
        state = self._module.state_dict()
        firsts: dict[Storage, str] = {}
        for tensor in proto.graph.initializer:
            if tensor.name in state:
                firsts.setdefault(storage(state[tensor.name]), tensor.name)
        others: dict[str, str] = {}
        kept = []
        for node in proto.graph.node:
            name = node.output[0] if node.op_type == "Identity" else ""
            if name in state and node.input[0] == firsts.get(storage(state[name])):
                others[name] = node.input[0]
                continue
            node.input[:] = [others.get(value, value) for value in node.input]
            rename_captured(node, others)
            kept.append(node)
        if others:
            del proto.graph.node[:]
            proto.graph.node.extend(kept)

    def _refuse_misfit(self, examples: tuple[torch.Tensor, ...]) -> None:
        """Refuse examples that the module itself can't be run on.

        Raises:
            DataError: it can't be run on them; the text says why.
        """
        reason = why_it_does_not_run(self._module, examples)
        if not reason:
            return
        given = ", ".join(
            f"{spec.name}:{','.join(map(str, example.shape[1:]))}"
            for spec, example in zip(self.example_inputs, examples, strict=True)
        )
        if "index out of range" in reason:
            raise DataError(
                f"{self.path} can't be run on these samples: a token id, or another index, is out "
                f"of range for an embedding ({reason}); give ids of the model's own tokenizer"
            )
        raise DataError(
            f"{self.path} can't be run on samples of the shape {given}: {reason}; give samples "
            "of the shape that the model takes, or that shape as --input-shape, without "
            "the batch axis"
        )

    def _refusal(self, as_it_is: str, traced: str) -> ModelError:
        same = as_it_is.startswith(traced.partition(" in the module")[0])
        also = "" if same else f" (and traced: {traced})"
        return ModelError(
            f"PyTorch's exporter can't convert {self.path} to ONNX: {as_it_is}{also}; replace the "
            "operation, or export the model to ONNX yourself"
        )


def _refuse_checkpoint(path: Path, content: bytes | None) -> None:
    """Refuse a file that torch.save wrote, without unpickling it.

    Raises:
        ModelError: it is a checkpoint, another zip file, or cut short.
    """
    names = zip_members(path, content)
    if names is None:
        names = []
        if not first_bytes(path, content, 2).startswith(PICKLE_PROTOCOL_2):
            raise ModelError(f"{path} is cut short: its end is missing")
    if any("/code/" in name or name.startswith("code/") for name in names):
        return
    if names and not any(name.endswith("data.pkl") for name in names):
        raise ModelError(f"{path} is a zip file, neither TorchScript nor an exported program")
    whole = class_of_whole_object(path if content is None else io.BytesIO(content)) if names else ""
    if whole:
        raise ModelError(
            f"{path} is a whole pickled module ({whole}), which would run code to be loaded; load "
            "it yourself and call lsuv_cli.initialize_(module, samples), or save the program by "
            "torch.export.save(torch.export.export(module.eval(), (x,)), ...)"
        )
    raise ModelError(
        f"{path} is a checkpoint of weights without the network; give the program, saved by "
        "torch.export.save(torch.export.export(module.eval(), (x,)), ...), or TorchScript, made by "
        "torch.jit.trace(model, example).save(...), or ONNX, made by torch.onnx.export(...)"
    )


def _is_from_torch_save(path: Path, content: bytes | None) -> bool:
    return first_bytes(path, content, 4).startswith(SIGNATURES)


TORCHSCRIPT = ModelFormat("TorchScript", _is_from_torch_save, TorchScript)
