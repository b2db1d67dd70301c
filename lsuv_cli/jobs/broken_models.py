"""Broken model files on which reading or measuring fails in a way that nothing foresees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lsuv_cli.core.errors import LsuvError, ModelError
from lsuv_cli.reading.factory import is_factory
from lsuv_cli.reading.formats import format_of
from lsuv_cli.reading.onnx_file import ONNX
from lsuv_cli.runtime.try_model import refusal_of


@contextmanager
def explaining_broken_models(path: Path, content: bytes | None) -> Iterator[None]:
    """Turn an unforeseen error into a sentence where the model is one that nobody can run.

    A graph may be broken in more ways than can be checked for: its passes rely on what ONNX
    promises of one. An error over a model that ONNX Runtime runs is a bug of ours, and stays what
    it is.

    Args:
        path: the model.
        content: its bytes, if they have been read already.

    Raises:
        ModelError: the work inside raised an error, and the model is broken.
    """
    try:
        yield
    except LsuvError:
        raise
    except Exception:
        reason = _fault(path, content)
        if not reason:
            raise
        raise ModelError(f"{path} is not a model that can be run: {reason}") from None


def _fault(path: Path, content: bytes | None) -> str:
    """Return what is wrong with an ONNX file; "" where nothing is, or it is another file."""
    if content is None and (is_factory(path) or not path.is_file()):
        return ""
    if format_of(path, content) is not ONNX:
        return ""
    model = str(path) if content is None else content
    return refusal_of(model)
