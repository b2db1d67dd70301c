"""The warning about weights that look made by hand, where the model file does not tell."""

from __future__ import annotations

import math
import shlex

import numpy as np

from lsuv_cli.core.layout import FloatArray, Order
from lsuv_cli.core.records import Layer
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.jobs.opening import OpenedInputs
from lsuv_cli.jobs.planning import ModelPlan
from lsuv_cli.layers.handmade import filters_of, signs_of_hand
from lsuv_cli.reading.model import OnnxModel

# Of a larger parameter only so many elements are read, as far as these are whole filters.
MOST_READ = 1 << 21
SAMPLE = 1 << 14
ROWS_ARE_FILTERS = (Order.CONV, Order.OUT_IN)


def warn_of_handmade(inputs: OpenedInputs, plan: ModelPlan) -> None:
    """Name the weights that are going to be initialised though they look made by hand.

    Args:
        inputs: the opened model; PyTorch's own files tell what is trained, and need no guess.
        plan: what is done with the model's layers.
    """
    if inputs.state is not None:
        return
    found: dict[str, str] = {}
    for planned in plan.layers.layers:
        layer = planned.layer
        if planned.skipped is None and layer.weight_name not in found:
            filters = _filters(layer, inputs.model, inputs.weights)
            sign = "" if filters is None else signs_of_hand(filters)
            if sign:
                found[layer.weight_name] = sign
    if found:
        listed = ", ".join(f"{name} ({sign})" for name, sign in found.items())
        options = " ".join(f"--exclude {shlex.quote(name)}" for name in found)
        inputs.events.warn(
            "these weights look made by hand, and the file does not tell whether training changes "
            f"them: {listed}; they are initialised like any other unless you give {options}"
        )


def _filters(layer: Layer, model: OnnxModel, weights: Parameters) -> FloatArray | None:
    """Return a layer's filters, or some of them; None where they take long to read."""
    view, layout = model.view(layer.weight_value), layer.layout
    if model.weight_values[layer.weight_value].shape != layout.shape:
        return None  # a parameter that scales a computed weight, and holds no matrix
    if math.prod(model.parameters[view.parameter].shape) <= MOST_READ:
        return filters_of(weights[layer.weight_value], layout)
    if view.steps or layout.order not in ROWS_ARE_FILTERS:
        return None
    kernel = math.prod(layout.kernel)
    count = math.ceil(SAMPLE / layout.fan_in) * layout.fan_in
    sample = weights.first(view.parameter, count).astype(np.float32)
    return sample.reshape(-1, layout.in_channels, kernel)
