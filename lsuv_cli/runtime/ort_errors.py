"""Errors of ONNX Runtime: their types, and their messages in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from lsuv_cli.core.errors import LsuvError

# ONNX Runtime's exceptions have no base class of their own. Its bindings raise Python's own, too:
# each of C++'s standard exceptions has one, and a text that is not UTF-8 can't be passed on.
ORT_ERRORS: tuple[type[Exception], ...] = (
    MemoryError,
    RuntimeError,
    ValueError,
    IndexError,
    OverflowError,
    *(
        value
        for value in vars(ort_state).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ),
)

SHOWN_LENGTH = 400


@contextmanager
def ort_errors(explain: Callable[[Exception], LsuvError]) -> Iterator[None]:
    """Turn an error of ONNX Runtime into one of ours.

    Args:
        explain: makes it.

    Raises:
        LsuvError: ONNX Runtime raised an error.
    """
    try:
        yield
    except ORT_ERRORS as error:
        raise explain(error) from None


def reason_of(error: BaseException) -> str:
    """Return ONNX Runtime's message in one line, without source locations and status prefixes."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", str(error))
    text = re.sub(r"/\S+/(?=[\w.]+:\d+)", "", text)
    return _without_signature(" ".join(text.split()))[:SHOWN_LENGTH]


def _without_signature(text: str) -> str:
    """Remove the signature of the C++ function that an error comes from, up to its closing ")"."""
    place = re.search(r"[\w.]+\.(?:cc|h):\d+ (?:(?! : )[^()])*\(", text)
    if place is None:
        return text
    depth, end = 1, place.end()
    while depth and end < len(text):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        end += 1
    return text[: place.start()] + text[end:].removeprefix(" const").lstrip()
