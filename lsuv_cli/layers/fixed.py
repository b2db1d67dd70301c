"""Layers whose weights or biases training does not change, as far as the model file tells."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lsuv_cli.core.choices import Status
from lsuv_cli.core.planning import Reason
from lsuv_cli.reading.model import OnnxModel


def why_fixed(model: OnnxModel, weights: Sequence[str]) -> Reason | None:
    """Return why a layer keeps its weight whatever the options say, and its status then.

    Args:
        model: the model.
        weights: the graph value that holds the weight, or all those that it is computed from.

    Returns:
        None where training changes one of them, or where nothing tells.
    """
    sources = dict.fromkeys(model.view(name).parameter for name in weights)
    fixed = [name for name in sources if name in model.fixed]
    if not fixed or not all(name in fixed or _is_number(model, name) for name in sources):
        return None
    reason = model.fixed[fixed[0]]
    if len(weights) > 1:
        reason = f"is computed from {fixed[0]}, which {reason}"
    return f"its weight {reason}", Status.FIXED


def is_fixed(model: OnnxModel, value: str | None) -> bool:
    """Say whether a bias is one that training does not change; a layer without one has none."""
    return bool(value) and model.view(value or "").parameter in model.fixed


def _is_number(model: OnnxModel, name: str) -> bool:
    """Say whether a parameter is a Constant node of one element."""
    return name in model.constants and math.prod(model.parameters[name].shape) == 1
