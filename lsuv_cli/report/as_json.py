"""The report as JSON; docs/report.md describes it and docs/report.schema.json is its schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.choices import Per
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Layer, LayerResult, Report, RunReport

SCHEMA = "lsuv.report/1"


def render_json(report: Report) -> str:
    """The report as indented JSON text; strict JSON, without NaN."""
    document = {
        "schema": SCHEMA,
        **run_document(report),
        "out": {
            "path": report.out,
            "files": list(report.files),
            "bytes": report.bytes_written,
        },
        "layers": [_layer(index, result, report.per) for index, result in enumerate(report.layers)],
        "converged": not report.failures,
    }
    return as_text(document)


def as_text(document: Mapping[str, Any]) -> str:
    """A document as indented text."""
    return json.dumps(document, indent=2, allow_nan=False)


def run_document(report: RunReport) -> dict[str, Any]:
    """What the documents of all jobs with samples have."""
    return {
        "version": report.version,
        "model": {
            "path": report.model,
            "sha256": report.model_sha256,
            "opset": report.opset,
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
        "left_alone": list(report.left_alone),
    }


def layer_document(index: int, layer: Layer) -> dict[str, Any]:
    """What is known of a layer before it is measured."""
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
    }


def _layer(index: int, result: LayerResult, per: Per) -> dict[str, Any]:
    layer = result.planned.layer
    target = result.planned.target_std
    deviation = None
    if result.after is not None:
        deviation = result.after.deviation(target, per_channel=per is Per.CHANNEL)
    return {
        **layer_document(index, layer),
        "target_std": target,
        "status": result.status.value,
        "detail": result.detail,
        "scale": scale_value(result.scale),
        "iterations": result.iterations,
        "before": moments_document(result.before),
        "after": moments_document(result.after),
        "deviation": finite(deviation),
    }


def scale_value(scale: NDArray[np.float64]) -> float | list[float]:
    """A layer's scale, or its scales by channel."""
    return float(scale) if scale.ndim == 0 else [float(value) for value in scale]


def moments_document(moments: Moments | None) -> dict[str, Any] | None:
    """Moments, or null where nothing was measured."""
    if moments is None:
        return None
    return {
        "mean": finite(moments.blob_mean),
        "variance": finite(moments.blob_variance),
        "samples": moments.count,
    }


def finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity; null stands for them."""
    return None if value is None or not math.isfinite(value) else value
