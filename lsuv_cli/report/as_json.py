"""The report as JSON; docs/report.md describes it and docs/report.schema.json is its schema."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.choices import Per
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import LayerResult, Report

SCHEMA = "lsuv.report/1"


def render_json(report: Report) -> str:
    """The report as indented JSON text; strict JSON, without NaN."""
    document = {
        "schema": SCHEMA,
        "version": report.version,
        "model": {
            "path": report.model,
            "sha256": report.model_sha256,
            "opset": report.opset,
        },
        "out": {
            "path": report.out,
            "files": list(report.files),
            "bytes": report.bytes_written,
        },
        "device": report.device,
        "options": dict(report.settings),
        "samples": {
            "used": report.samples,
            "processes": report.processes,
            "available": report.available_samples,
            "skipped": [
                {"path": path, "reason": reason} for path, reason in report.skipped_samples
            ],
            "inputs": [
                {
                    "name": statistics.name,
                    "shape": list(statistics.shape),
                    "dtype": statistics.dtype,
                    "mean": statistics.mean,
                    "std": statistics.std,
                    "channel_mean": list(statistics.channel_mean),
                    "channel_std": list(statistics.channel_std),
                }
                for statistics in report.inputs
            ],
        },
        "layers": [_layer(index, result, report.per) for index, result in enumerate(report.layers)],
        "left_alone": list(report.left_alone),
        "converged": not report.failures,
    }
    return json.dumps(document, indent=2, allow_nan=False)


def _layer(index: int, result: LayerResult, per: Per) -> dict[str, Any]:
    layer = result.planned.layer
    target = result.planned.target_std
    deviation = None
    if result.after is not None:
        deviation = result.after.deviation(target, per_channel=per is Per.CHANNEL)
    return {
        "index": index,
        "name": layer.name,
        "op": layer.op,
        "weight": layer.parameter,
        "bias": layer.bias_parameter,
        "dtype": layer.dtype.name,
        "shape": list(layer.layout.shape),
        "groups": layer.layout.groups,
        "parameters": layer.parameters,
        "target_std": target,
        "status": result.status.value,
        "detail": result.detail,
        "scale": scale_value(result.scale),
        "iterations": result.iterations,
        "before": _moments(result.before),
        "after": _moments(result.after),
        "deviation": _finite(deviation),
    }


def scale_value(scale: NDArray[np.float64]) -> float | list[float]:
    """A layer's scale, or its scales by channel."""
    return float(scale) if scale.ndim == 0 else [float(value) for value in scale]


def _moments(moments: Moments | None) -> dict[str, Any] | None:
    if moments is None:
        return None
    return {
        "mean": _finite(moments.blob_mean),
        "variance": _finite(moments.blob_variance),
        "samples": moments.count,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity; null stands for them."""
    return None if value is None or not math.isfinite(value) else value
