"""A model file as it was read: its graph, and where its parameters can be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from lsuv_cli.graph.parameters import ParameterSources
from lsuv_cli.graph.torch_signature import ExportedSignature


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model file as it was read: its graph, and where its parameters can be read.

    Attributes:
        path: where it was read from.
        sha256: the file's SHA-256, in hexadecimal.
        opset: the version of the default operator set.
        skeleton: the model without its floating-point initializers, without local functions, and
            with sparse initializers as Constant nodes; never modified.
        parameters: where those initializers can be read.
        external_files: the files beside it that hold its external data.
        signature: the tensors of the PyTorch module that it was exported from; None where the file
            does not tell.
        fixed: the tensors that training does not change, as far as the file tells, and why not, as
            "is a buffer".
        trained: the names of those of which the file tells that training changes them.
        ties_are_known: whether a parameter that several modules read is known to be tied; else an
            exporter may have stored equal ones once.
        keeps_ties: whether the parameters are those of the file: one that an exporter may have
            stored once for several stays one.
    """

    path: Path
    sha256: str
    opset: int
    skeleton: onnx.ModelProto
    parameters: ParameterSources
    external_files: tuple[Path, ...]
    signature: ExportedSignature | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)
    trained: frozenset[str] = frozenset()
    ties_are_known: bool = False
    keeps_ties: bool = False

    @property
    def producer(self) -> str:
        """The program that wrote the file, and its version; "" where the file does not tell."""
        return f"{self.skeleton.producer_name} {self.skeleton.producer_version}".strip()
