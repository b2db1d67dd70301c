"""Whether ONNX Runtime takes a model file as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from lsuv_cli.core.errors import ModelError
from lsuv_cli.sweep.session import CPU, FATAL, ORT_ERRORS

KINDS = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
}


def try_model(path: Path) -> bool:
    """Load a model on the CPU and, where its inputs tell enough, run it once on zeros.

    Returns:
        Whether it was run; a size that is left open is taken for a batch of one if it is the
        first, and otherwise keeps the model from being run.

    Raises:
        ModelError: ONNX Runtime does not load or run it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    try:
        session = ort.InferenceSession(str(path), options, providers=[CPU])
        feeds = {}
        for value in session.get_inputs():
            sizes = [1, *value.shape[1:]] if value.shape else []
            if value.type not in KINDS or not all(isinstance(size, int) for size in sizes):
                return False
            feeds[value.name] = np.zeros(sizes, KINDS[value.type])
        session.run(None, feeds)
    except ORT_ERRORS as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"ONNX Runtime does not run the model with the new weights: {reason}"
        ) from None
    return True
