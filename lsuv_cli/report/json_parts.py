"""Parts that the JSON documents of several commands share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Layer, RunReport


def as_text(document: Mapping[str, Any]) -> str:
    """Return a document as indented, strict JSON: without NaN and infinity."""
    return json.dumps(document, indent=2, allow_nan=False)


def run_document(report: RunReport) -> dict[str, Any]:
    """Return the members that the documents of all commands with samples have."""
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
    """Return the members on a layer that are known before anything is measured."""
    return {
        "index": index,
        "name": layer.name,
        "op": layer.op,
        "weight": layer.weight_name,
        "bias": layer.bias_name,
        "dtype": layer.dtype.name,
        "shape": list(layer.layout.shape),
        "groups": layer.layout.groups,
        "parameters": layer.parameter_count,
    }


def moments_document(moments: Moments | None) -> dict[str, Any] | None:
    """Return the moments of a layer's output, or null where it was not measured."""
    if moments is None:
        return None
    return {
        "mean": finite(moments.blob_mean),
        "variance": finite(moments.blob_variance),
        "samples": moments.count,
    }


def finite(value: float | None) -> float | None:
    """Return a number, or null for NaN and infinity, which JSON lacks."""
    return None if value is None or not math.isfinite(value) else value
