"""The value of a weight that is computed from parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.instrument.constant_graph import constant_graph
from lsuv_cli.reading.model import OnnxModel
from lsuv_cli.runtime.devices import CPU, Device
from lsuv_cli.runtime.run_once import run_once

# Weights are small beside activations.
ONE_CORE = Device(((CPU, {}),), "CPU", threads=1)


def evaluate(model: OnnxModel, value: str, parameters: Mapping[str, FloatArray]) -> FloatArray:
    """Compute a value that depends on parameters alone, on the CPU.

    Args:
        model: the model.
        value: the value's name.
        parameters: an array for each parameter that it depends on.

    Raises:
        ModelError: ONNX Runtime can't compute it.
    """
    found: FloatArray = np.asarray(
        run_once(constant_graph(model, value, parameters), {}, ONE_CORE)[value]
    )
    return found
