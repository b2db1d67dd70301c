"""ONNX files: the graph as it is, and where its floating-point parameters can be read."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from lsuv_cli.core.addresses import download_advice
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.records import Feeds, InputSpec
from lsuv_cli.graph.constants import float_array_of
from lsuv_cli.graph.fixed import fixed_by_signature, trained_by_signature
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, FLOAT_TYPES, bodies
from lsuv_cli.graph.onnx_library import inline_functions
from lsuv_cli.graph.parameters import Parameters, ParameterSource, ParameterSources
from lsuv_cli.graph.tensor_source import inlined, tensor_source
from lsuv_cli.graph.torch_signature import read_signature
from lsuv_cli.reading.malformed import refuse_invalid_nodes, refuse_malformed
from lsuv_cli.reading.model import OnnxModel, model_of
from lsuv_cli.reading.model_format import ModelFormat
from lsuv_cli.reading.old_opsets import with_runnable_opset
from lsuv_cli.reading.other_files import HEAD_BYTES, refuse_other_files
from lsuv_cli.reading.sparse import sparse_as_constants
from lsuv_cli.reading.torch_clashes import rename_clashing


class OnnxFile:
    """An ONNX file, which needs no examples, and in which parameters have their own names.

    Attributes:
        path: the file.
        example_inputs: none.
        state: None.
        road: "".
        doubt: "".
    """

    example_inputs: tuple[InputSpec, ...] = ()
    state = None
    road = doubt = ""

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Remember where the file is; it is opened by `source`."""
        self.path = path
        self._content = content

    def source(self, _examples: Feeds) -> ModelSource:
        """Read the file; see `read_source`."""
        return read_source(self.path, self._content)


ONNX = ModelFormat("ONNX", lambda _path, _content: True, OnnxFile)


def read_model(path: Path, content: bytes | None = None) -> tuple[OnnxModel, Parameters]:
    """Read an ONNX file.

    Args:
        path: the file.
        content: its bytes, if they have been read already.

    Returns:
        The model, and apart from it the parameters' values.

    Raises:
        ModelError: there is no such file, it is not ONNX, or its external data is missing.
    """
    return model_of(read_source(path, content))


def read_source(path: Path, content: bytes | None = None) -> ModelSource:
    """Read an ONNX file; external data is read each time it is asked for.

    Args:
        path: the file.
        content: its bytes, if they have been read already; external data lies beside `path`.

    Raises:
        ModelError: there is no such file, it is not ONNX, or its external data is missing.
    """
    model, sha256 = parse(path, content)
    refuse_malformed(model, path)
    source = source_of(model, sha256, path)
    refuse_invalid_nodes(source.skeleton, path)
    return source


def source_of(
    model: onnx.ModelProto, sha256: str, path: Path, elsewhere: ParameterSources | None = None
) -> ModelSource:
    """Return a model in memory as `read_source` returns one in a file.

    Args:
        model: the model.
        sha256: the SHA-256 of the file it was read or converted from, in hexadecimal.
        path: that file, beside which external data lies.
        elsewhere: floating-point initializers that the model lacks, and that are kept elsewhere.

    Raises:
        ModelError: it holds no graph or no weights, is broken, or external data is missing.
    """
    model = with_runnable_opset(model, path)
    opset = next((o.version for o in model.opset_import if o.domain in DEFAULT_DOMAINS), None)
    if not model.graph.node or opset is None:
        raise ModelError(f"{path} is not an ONNX model: it holds no graph; check what wrote it")
    weights: dict[str, ParameterSource] = dict(elsewhere or {})
    for tensor in model.graph.initializer:
        if tensor.data_type in FLOAT_TYPES:
            weights[tensor.name] = tensor_source(tensor, path)
    skeleton = _skeleton(model, path)
    sparse_as_constants(skeleton, path)
    if skeleton.functions:
        skeleton = _inlined_functions(skeleton, weights)
    if not weights and not _has_constants(skeleton.graph):
        raise ModelError(
            f"{path} holds no floating-point weights, so there is nothing to initialise; "
            "export the model with its parameters"
        )
    external_files = _external_files(model.graph, path)
    signature = read_signature(model.graph)
    if signature is not None:
        others = (tensor.name for tensor in skeleton.graph.initializer)
        rename_clashing(skeleton.graph, {*weights, *others}, signature)
    return ModelSource(
        path,
        sha256,
        opset,
        skeleton,
        weights,
        external_files,
        signature,
        fixed={} if signature is None else fixed_by_signature(signature, weights),
        trained=frozenset() if signature is None else trained_by_signature(signature),
    )


def _has_constants(graph: onnx.GraphProto) -> bool:
    """Return whether a graph or a body in it has a tensor that could be a weight."""
    return any(tensor.data_type in FLOAT_TYPES for tensor in graph.initializer) or any(
        float_array_of(node) is not None or any(map(_has_constants, bodies(node)))
        for node in graph.node
    )


def parse(path: Path, content: bytes | None = None) -> tuple[onnx.ModelProto, str]:
    """Parse an ONNX file without its external data.

    Args:
        path: the file.
        content: its bytes, if they have been read already.

    Returns:
        The model, and the file's SHA-256 in hexadecimal.

    Raises:
        ModelError: there is no such file, or it can't be parsed.
    """
    if content is not None:
        if not content:
            raise ModelError(f"the model {path} is empty")
        refuse_other_files(path, content[:HEAD_BYTES])
        return _parsed(content, path), hashlib.sha256(content).hexdigest()
    if not path.exists():
        raise ModelError(f"no such model file: {path}{download_advice(str(path))}")
    if not path.is_file():
        raise ModelError(f"the model {path} is not a file")
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise ModelError(f"the model file {path} is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                refuse_other_files(path, mapped[:HEAD_BYTES])
                return _parsed(mapped[:], path), hashlib.sha256(mapped).hexdigest()
    except OSError as error:
        raise ModelError(f"can't read the model {path}: {error.strerror}") from None


def _parsed(content: bytes, path: Path) -> onnx.ModelProto:
    try:
        return onnx.ModelProto.FromString(content)
    except DecodeError:
        raise ModelError(
            f"{path} is not an ONNX model, or is cut short: it can't be parsed; "
            "check the file, or export it again"
        ) from None


def _external_files(graph: onnx.GraphProto, model_path: Path) -> tuple[Path, ...]:
    locations = {
        next(entry.value for entry in tensor.external_data if entry.key == "location")
        for tensor in _all_initializers(graph)
        if tensor.data_location == TensorProto.EXTERNAL
    }
    return tuple(model_path.parent / location for location in sorted(locations))


def _all_initializers(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for body in bodies(node):
            yield from _all_initializers(body)


def _skeleton(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Return a copy without floating-point initializers.

    It is built field by field: copying the whole model first would hold every weight twice, and
    clearing the weights in place would not free their memory.
    """
    slim = onnx.ModelProto()
    for descriptor, value in model.ListFields():
        if descriptor.name == "graph":
            for inner, inner_value in value.ListFields():
                if inner.name == "initializer":
                    slim.graph.initializer.extend(
                        inlined(t, path) for t in inner_value if t.data_type not in FLOAT_TYPES
                    )
                elif inner.name != "value_info":
                    _set_field(slim.graph, inner.name, inner_value)
        else:
            _set_field(slim, descriptor.name, value)
    return slim


def _inlined_functions(skeleton: onnx.ModelProto, weights: ParameterSources) -> onnx.ModelProto:
    """Return the skeleton with its local functions inlined.

    The inliner gives values inside functions names that the graph does not have, so it must be
    told the names of the weights.
    """
    kept = len(skeleton.graph.initializer)
    skeleton.graph.initializer.extend(TensorProto(name=name) for name in weights)
    inlined_model = inline_functions(skeleton)
    del inlined_model.graph.initializer[kept:]
    return inlined_model


def _set_field(message: object, name: str, value: object) -> None:
    target = getattr(message, name)
    if hasattr(target, "extend"):
        target.extend(value)
    elif hasattr(target, "CopyFrom"):
        target.CopyFrom(value)
    else:
        setattr(message, name, value)
