"""Results of `lsuv init` as JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.records import LayerResult, Report
from lsuv_cli.report.json_parts import (
    as_text,
    finite,
    layer_document,
    moments_document,
    run_document,
)

SCHEMA = "lsuv.report/1"


def init_json(report: Report) -> str:
    """Return the results as indented JSON text; docs/report.schema.json is its schema."""
    document = {
        "schema": SCHEMA,
        **run_document(report),
        "out": {
            "path": report.out,
            "files": list(report.files),
            "bytes": report.bytes_written,
        },
        "layers": [_layer(index, result) for index, result in enumerate(report.layers)],
        "converged": not report.failures,
    }
    return as_text(document)


def _layer(index: int, result: LayerResult) -> dict[str, Any]:
    layer = result.planned.layer
    return {
        **layer_document(index, layer),
        "target_std": result.planned.target_std,
        "status": result.status.value,
        "detail": result.detail,
        "scale": _scale(result.scale),
        "iterations": result.iterations,
        "before": moments_document(result.before),
        "after": moments_document(result.after),
        "deviation": finite(result.deviation),
    }


def _scale(scale: NDArray[np.float64]) -> float | list[float]:
    """Return a layer's scale, or its scales by channel."""
    return float(scale) if scale.ndim == 0 else [float(value) for value in scale]
