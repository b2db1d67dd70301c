"""Protocols of model files, which each format implements."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.graph.written_tensors import Naming
from lsuv_cli.reading.model import OnnxModel

# Examples that a conversion is given: enough to see which axes are the batch's. The values don't
# matter.
EXAMPLES = 2


class ModelState(Protocol):
    """The tensors of a model file that has names of its own for them, as a `state_dict` has."""

    @property
    def kind(self) -> str:
        """The kind of the files that `with_values` makes, as in `output_checks.KIND_OF_SUFFIX`."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor, by name."""

    @property
    def doubtful(self) -> frozenset[str]:
        """The tensors of which the file does not tell whether the model's state has them."""

    def naming(
        self, model: OnnxModel, parameters: Parameters
    ) -> tuple[Naming, dict[str, NDArray[Any]]]:
        """Return how each tensor follows from the graph's parameters, and the values of the rest.

        Args:
            model: the graph that the file was converted to.
            parameters: the values of its parameters.
        """

    def needed(self, given: Collection[str]) -> frozenset[str]:
        """Return the tensors that a file of weights must have, given the names that it has.

        It may lack those in doubt, and a tied tensor under all but one of its names.
        """

    def with_values(self, tensors: Mapping[str, NDArray[Any]]) -> bytes:
        """Return the bytes of the file with other values.

        Args:
            tensors: a value for each name that is `needed`, in any precision.
        """


class ModelFile(Protocol):
    """An open model file, which can be read as an ONNX graph."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def example_inputs(self) -> tuple[InputSpec, ...]:
        """The inputs of which `source` must be given examples; () if it needs none."""

    @property
    def state(self) -> ModelState | None:
        """The file's own tensors and names; None where the graph's parameters are these."""

    @property
    def road(self) -> str:
        """The way in which `source` converted the file, in words; "" where it was ONNX already."""

    @property
    def doubt(self) -> str:
        """A caveat about the result of `source`, in words; "" where there is none."""

    def source(self, examples: Feeds) -> ModelSource:
        """Read the file as an ONNX graph.

        Args:
            examples: for each of `example_inputs` a few samples, shape (samples, ...).

        Raises:
            ModelError: it can't be read, or not be converted.
            DataError: the model can't be run on the examples.
        """


@dataclass(frozen=True, slots=True)
class ModelFormat:
    r"""A format of model files.

    A new one is a file of this folder that defines a `ModelFormat`, and a line in
    `formats.FORMATS`. ONNX files packed by gzip, for instance:

        >>> import gzip
        >>> import numpy as np
        >>> from onnx import helper, numpy_helper
        >>> from lsuv_cli.reading.onnx_file import OnnxFile
        >>> def is_gzip(path, content):
        ...     return first_bytes(path, content, 2) == b"\x1f\x8b"
        >>> def open_gzip(path, content):
        ...     with open_bytes(path, content) as file:
        ...         return OnnxFile(path, gzip.decompress(file.read()))
        >>> GZIP = ModelFormat("ONNX packed by gzip", is_gzip, open_gzip)

        >>> node = helper.make_node("MatMul", ["x", "w"], ["y"])
        >>> x, y = (helper.make_tensor_value_info(name, 1, [2, 3]) for name in "xy")
        >>> weight = numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")
        >>> model = helper.make_model(helper.make_graph([node], "g", [x], [y], [weight]))
        >>> packed = gzip.compress(model.SerializeToString())
        >>> GZIP.claims(Path("m.onnx.gz"), packed)
        True
        >>> sorted(GZIP.open(Path("m.onnx.gz"), packed).source({}).parameters)
        ['w']

    Attributes:
        name: what it is called in messages.
        claims: says by a file's first bytes or its suffix whether it is of this format; given the
            path, and the bytes if they have been read already.
        open: opens such a file, given the same; raises a ModelError where it is broken.
    """

    name: str
    claims: Callable[[Path, bytes | None], bool]
    open: Callable[[Path, bytes | None], ModelFile]


def open_bytes(path: Path, content: bytes | None) -> io.BufferedIOBase:
    """Open a file for reading, or its bytes if they have been read already.

    Raises:
        OSError: it can't be opened.
    """
    return path.open("rb") if content is None else io.BytesIO(content)


def file_sha256(path: Path, content: bytes | None) -> str:
    """Return the SHA-256 of a file, or of its bytes if they have been read already."""
    with open_bytes(path, content) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_bytes(path: Path, content: bytes | None, count: int) -> bytes:
    """Return the first bytes of a file; b"" where it can't be read."""
    try:
        with open_bytes(path, content) as file:
            return file.read(count)
    except OSError:
        return b""


def zip_members(path: Path, content: bytes | None) -> list[str] | None:
    """Return the names in a zip file; None where it is none, or is cut short.

    Args:
        path: the file.
        content: its bytes, if they have been read already.

    Raises:
        OSError: it can't be opened.
    """
    try:
        with open_bytes(path, content) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:
        return None
    # Without its end, an archive may end like a smaller one that is a member of it.
    if min((member.header_offset for member in members), default=0) > 0:
        return None
    return [member.filename for member in members]
