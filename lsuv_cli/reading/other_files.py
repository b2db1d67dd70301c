"""Files that are no model, or one of another kind: what each is, and what to give instead."""

from __future__ import annotations

from pathlib import Path

from lsuv_cli.core.errors import ModelError

# Long enough for every signature below, and to tell text from numbers.
HEAD_BYTES = 512

# (offset, signature, what the file is and what to do)
SIGNATURES = (
    (
        4,
        b"ORTM",
        "is in ONNX Runtime's own format (.ort); give the ONNX file that it was made from",
    ),
    (
        4,
        b"TFL3",
        "is TensorFlow Lite; convert it by python -m tf2onnx.convert --tflite",
    ),
    (
        0,
        b"\x89HDF",
        "is HDF5, as Keras writes; convert the model by model.export('model.onnx', format='onnx')",
    ),
    (0, b"GGUF", "is GGUF, weights without a network; give the model that they belong to"),
    (0, b"\x93NUMPY", "is an array, not a model; samples are given as --data"),
)


def refuse_other_files(path: Path, head: bytes) -> None:
    """Refuse a file that is not ONNX, saying what it is.

    Args:
        path: the file.
        head: its first `HEAD_BYTES` bytes.

    Raises:
        ModelError: it is of a kind that is known.
    """
    for offset, signature, what in SIGNATURES:
        if head[offset:].startswith(signature):
            raise ModelError(f"{path} {what}")
    if head[8:10] in (b'{"', b"{}") and int.from_bytes(head[:8], "little") < 1 << 32:
        raise ModelError(
            f"{path} is safetensors, weights without the network; give the model, and these "
            "weights as --like, or measure them by lsuv verify MODEL WEIGHTS"
        )
    if path.suffix == ".py":
        raise ModelError(
            f"{path} is Python source; name what makes the module in it, as {path}:Network"
        )
    if _is_text(head):
        raise ModelError(f"{path} is a text file, not an ONNX model; give the model itself")


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return False
    # An ONNX file begins with a tag and a small number, which are control characters.
    return bool(text) and all(one.isprintable() or one in "\r\n\t" for one in text)
