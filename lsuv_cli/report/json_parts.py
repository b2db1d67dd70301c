"""Parts that the JSON documents of several commands share: their types, and what fills them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import InputStatistics, Layer, RunReport
from lsuv_cli.report.json_types import (
    BatchNormName,
    BiasName,
    Count,
    NonNegative,
    PerName,
    Positive,
    PositiveCount,
    PreInitName,
    Sha256,
    WeightDtype,
)


class ModelFacts(TypedDict):
    """The model file: its path as given, and its version of the default operator set."""

    path: str
    sha256: Sha256
    opset: PositiveCount


class RunMembers(TypedDict):
    """Members of a document that say what ran where."""

    version: str
    model: ModelFacts
    device: str


class MeasureSettings(TypedDict):
    """Options that decide what is measured."""

    samples: PositiveCount
    batch_size: PositiveCount
    seed: Count
    target_std: Positive
    targets: list[tuple[str, Positive]]
    tol: Positive
    per: PerName
    bn: BatchNormName
    include: list[str]
    exclude: list[str]
    mean: list[float]
    std: list[float]
    resize: str | None
    crop: str | None
    input_shapes: dict[str, list[PositiveCount]]
    batch_axes: dict[str, int | None]
    feeds: dict[str, Any]


class DrawSettings(MeasureSettings):
    """Options that decide how weights are made, too."""

    max_iter: PositiveCount
    pre_init: PreInitName
    bias: BiasName


class SkippedSample(TypedDict):
    """A file that could not be read."""

    path: str
    reason: str


class InputFacts(TypedDict):
    """Values that entered the network through one input; by channel for pictures."""

    name: str
    shape: list[Count]
    dtype: str
    mean: float
    std: NonNegative
    channel_mean: list[float]
    channel_std: list[NonNegative]


class SampleFacts(TypedDict):
    """The samples: how many were fed and found, and how many processes shared them."""

    used: PositiveCount
    processes: PositiveCount
    available: PositiveCount
    skipped: list[SkippedSample]
    inputs: list[InputFacts]


class SampleMembers(TypedDict):
    """Members of a document on the samples, and on what looks like a layer but is left alone."""

    samples: SampleFacts
    left_alone: list[str]


class ComputedFacts(TypedDict):
    """Parameters of a computed weight: the one that is drawn, and those that are scaled."""

    drawn: str | None
    scaled: list[str]


class LayerFacts(TypedDict):
    """Members of a layer that are known before anything is measured."""

    index: Count
    name: str
    node: str
    op: str
    weight: str
    computed: ComputedFacts | None
    bias: str | None
    dtype: WeightDtype
    shape: list[PositiveCount]
    groups: PositiveCount
    parameters: PositiveCount


class MomentFacts(TypedDict):
    """Moments of a layer's output, over samples, positions and channels; null if not finite."""

    mean: float | None
    variance: float | None
    samples: PositiveCount


def as_text(document: Mapping[str, Any]) -> str:
    """Return a document as indented, strict JSON: without NaN and infinity."""
    return json.dumps(document, indent=2, allow_nan=False)


def run_members(report: RunReport) -> RunMembers:
    """Return what ran where."""
    return {
        "version": report.version,
        "model": {
            "path": report.model,
            "sha256": report.model_sha256,
            "opset": report.opset,
        },
        "device": report.device,
    }


def sample_members(report: RunReport) -> SampleMembers:
    """Return the samples of a run, and what was left alone."""
    return {
        "samples": {
            "used": report.samples,
            "processes": report.processes,
            "available": report.available_samples,
            "skipped": [
                {"path": path, "reason": reason} for path, reason in report.skipped_samples
            ],
            "inputs": [_input_facts(statistics) for statistics in report.inputs],
        },
        "left_alone": list(report.left_alone),
    }


def _input_facts(statistics: InputStatistics) -> InputFacts:
    return {
        "name": statistics.name,
        "shape": list(statistics.shape),
        "dtype": statistics.dtype,
        "mean": statistics.mean,
        "std": statistics.std,
        "channel_mean": list(statistics.channel_mean),
        "channel_std": list(statistics.channel_std),
    }


def layer_facts(index: int, layer: Layer) -> LayerFacts:
    """Return what is known of a layer before anything is measured."""
    return {
        "index": index,
        "name": layer.name,
        "node": layer.node,
        "op": layer.op,
        "weight": layer.weight_name,
        "computed": _computed_facts(layer),
        "bias": layer.bias_name,
        "dtype": layer.dtype.name,
        "shape": list(layer.layout.shape),
        "groups": layer.layout.groups,
        "parameters": layer.parameter_count,
    }


def _computed_facts(layer: Layer) -> ComputedFacts | None:
    if not layer.computed_weight:
        return None
    return {
        "drawn": layer.weight_name if layer.is_drawn else None,
        "scaled": [part.name for part in layer.scaled_parts],
    }


def moment_facts(moments: Moments | None) -> MomentFacts | None:
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
