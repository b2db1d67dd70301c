"""One run of a model as it is, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from lsuv_cli.core.errors import ModelError
from lsuv_cli.runtime.devices import CPU, FATAL
from lsuv_cli.runtime.ort_errors import ort_errors, reason_of


def run_model(model: bytes, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Run a model once on the CPU, nothing optimised.

    Args:
        model: the model, serialised.
        feeds: a value for each of its inputs.

    Returns:
        Its outputs, in order.

    Raises:
        ModelError: ONNX Runtime can't run it.
    """
    options = ort.SessionOptions()
    options.log_severity_level = FATAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    run_options = ort.RunOptions()
    run_options.log_severity_level = FATAL
    with ort_errors(lambda error: ModelError(reason_of(error))):
        session = ort.InferenceSession(model, options, providers=[CPU])
        contiguous = {name: np.ascontiguousarray(value) for name, value in feeds.items()}
        return [np.asarray(value) for value in session.run(None, contiguous, run_options)]
