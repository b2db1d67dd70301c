"""Results of `lsuv compare` as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lsuv_cli.core.comparison import Comparison, Trial, growth
from lsuv_cli.report.json_parts import (
    as_text,
    finite,
    layer_document,
    moments_document,
    run_document,
)

SCHEMA = "lsuv.compare/1"


def comparison_json(comparison: Comparison) -> str:
    """All of it, as indented JSON text; strict JSON, without NaN."""
    return as_text(
        {
            "schema": SCHEMA,
            **run_document(comparison),
            "gradients": {
                "samples": comparison.gradient_samples,
                "missing": comparison.no_gradients or None,
            },
            "inits": [_trial(comparison, trial) for trial in comparison.trials],
            "layers": [
                {
                    **layer_document(index, planned.layer),
                    "target_std": planned.target_std,
                    "forward": {
                        trial.init.value: _forward(trial, index) for trial in comparison.trials
                    },
                    "backward": {
                        trial.init.value: finite(trial.backward_std(index))
                        for trial in comparison.trials
                    },
                }
                for index, planned in enumerate(comparison.layers)
            ],
        }
    )


def _trial(comparison: Comparison, trial: Trial) -> dict[str, Any]:
    return {
        "name": trial.init.value,
        "forward": _growth(comparison.forward(trial)),
        "backward": _growth(comparison.backward(trial)[::-1]),
        "failures": list(trial.failures),
    }


def _growth(stds: Sequence[float | None]) -> dict[str, Any] | None:
    found = growth(stds)
    if found is None:
        return None
    return {"from": found.start, "to": found.end, "factor": finite(found.factor)}


def _forward(trial: Trial, index: int) -> dict[str, Any] | None:
    document = moments_document(trial.forward.get(index))
    if document is None:
        return None
    return {**document, "std": finite(trial.forward_std(index))}
