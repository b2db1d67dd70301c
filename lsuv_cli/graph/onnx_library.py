"""Calls of the onnx library on what a file holds; its errors, of many types, end here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import checker, inliner, shape_inference, version_converter

from lsuv_cli.core.errors import ModelError

# The library has no base class for its errors. Its bindings raise Python's own as well, and its
# Python code looks up numbers of types in tables and converts values that may be of any type.
ONNX_ERRORS = (
    checker.ValidationError,
    shape_inference.InferenceError,
    DecodeError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    AttributeError,
)

SHOWN_LENGTH = 300


@contextmanager
def onnx_errors(explain: Callable[[str], ModelError]) -> Iterator[None]:
    """Turn an error of the onnx library into one of ours.

    Args:
        explain: makes it from the library's message in one line.

    Raises:
        ModelError: the work inside raised an error.
    """
    try:
        yield
    except ONNX_ERRORS as error:
        raise explain(_in_one_line(error)) from None


def infer_shapes(model: onnx.ModelProto, *, values: bool = False) -> onnx.GraphProto | None:
    """Return a model's graph with the shapes that ONNX infers.

    Args:
        model: the model.
        values: infer the values of shapes too.

    Returns:
        A copy of the graph; None where nothing can be inferred, as for an operator that ONNX does
        not know or shapes that contradict each other.
    """
    try:
        return shape_inference.infer_shapes(model, data_prop=values).graph
    except ONNX_ERRORS:
        return None


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with its local functions inlined.

    Raises:
        ModelError: they can't be.
    """

    def broken(reason: str) -> ModelError:
        return ModelError(f"the functions in the model can't be inlined: {reason}")

    with onnx_errors(broken):
        return inliner.inline_local_functions(model)


def convert_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Return a model converted to another version of the default operator set.

    Raises:
        ModelError: it can't be.
    """
    with onnx_errors(ModelError):
        return version_converter.convert_version(model, version)


def run_reference(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return what a model makes of some samples by ONNX's own, slow implementation.

    Raises:
        ModelError: it lacks an operator, or does not take the samples.
    """
    from onnx.reference import ReferenceEvaluator

    with onnx_errors(ModelError):
        return list(ReferenceEvaluator(model).run(None, dict(feeds)))


def fault_of(model: str | bytes) -> str:
    """Return what ONNX's checker finds wrong with a model; "" where it finds nothing.

    Args:
        model: its path or its bytes.
    """
    try:
        checker.check_model(model, full_check=False)
    except ONNX_ERRORS as error:
        return _in_one_line(error)
    return ""


class NodeChecker:
    """Checks nodes against ONNX's definitions of their operators."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Take the versions of the operator sets from a model."""
        self._versions = {one.domain: one.version for one in model.opset_import}
        self._context = checker.C.CheckerContext()
        self._context.ir_version = model.ir_version
        self._context.opset_imports = self._versions

    def fault(self, node: onnx.NodeProto) -> str:
        """Return what is wrong with a node; "" where nothing is, or ONNX does not know it.

        What a node has graphs in is not looked at: they read values from outside.
        """
        version = self._versions.get(node.domain)
        try:
            if version is None or not onnx.defs.has(node.op_type, version, node.domain):
                return ""
            checker.check_node(node, self._context)
        except ONNX_ERRORS as error:
            return _in_one_line(error)
        return ""


def _in_one_line(error: BaseException) -> str:
    text = str(error).partition("==> Context:")[0]
    return " ".join(text.split())[:SHOWN_LENGTH]
