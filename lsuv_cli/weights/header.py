"""Texts in the header of a written file: the run's settings, and the scales of its layers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lsuv_cli import __version__
from lsuv_cli.core.choices import Per
from lsuv_cli.core.indices import WeightIndex
from lsuv_cli.core.moments import Float64Array
from lsuv_cli.core.records import Plan
from lsuv_cli.reading.model import OnnxModel

# A float64 in JSON has at most this many characters. Shorter ones are padded, so that the header's
# length does not depend on the scales.
NUMBER_WIDTH = 24

OPTIONS_KEY = "lsuv.options"

Scales = Mapping[WeightIndex, Float64Array]


def header_texts(
    model: OnnxModel, plan: Plan, settings: Mapping[str, object], scales: Scales
) -> Callable[[Sequence[str]], Mapping[str, str]]:
    """Return a function from the names of a file's tensors to the texts of its header.

    Args:
        model: the model.
        plan: the layers, under their written names.
        settings: the options that decide the numbers.
        scales: the scale of each scaled layer, by its index; without one the text has the same
            length.
    """
    common = {
        "format": "pt",  # the readers of Hugging Face's libraries ask for it
        "lsuv.version": __version__,
        "lsuv.model_sha256": model.sha256,
        "lsuv.seed": str(settings["seed"]),
        OPTIONS_KEY: json.dumps(settings, sort_keys=True),
    }

    def texts(names: Sequence[str]) -> dict[str, str]:
        # A part of a tensor is called `name[start:stop]`.
        beginnings = tuple(f"{name}[" for name in names)
        parts = []
        for weight in plan.scaled():
            parameter = plan.layers[weight].layer.weight_name
            if parameter in names or parameter.startswith(beginnings):
                parts.append(f"{json.dumps(parameter)}: {_scale(weight, plan, scales)}")
        return {**common, "lsuv.scales": f"{{{', '.join(parts)}}}"}

    return texts


def _scale(weight: WeightIndex, plan: Plan, scales: Scales) -> str:
    one = math.nan
    if plan.per is Per.LAYER:
        return _number(float(scales.get(weight, one)))
    count = plan.layers[weight].layer.layout.out_channels
    values = np.broadcast_to(scales.get(weight, one), (count,))
    return f"[{', '.join(_number(float(value)) for value in values)}]"


def _number(value: float) -> str:
    return json.dumps(value).rjust(NUMBER_WIDTH)


def settings_in(texts: Mapping[str, str]) -> object:
    """Return the settings that a header has, as JSON holds them: none in other tools' files.

    Args:
        texts: the header's texts.
    """
    try:
        return json.loads(texts.get(OPTIONS_KEY, "{}"))
    except (ValueError, RecursionError):
        return None
