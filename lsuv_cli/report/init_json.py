"""Results of `lsuv init` as JSON."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from lsuv_cli.core.records import LayerResult, Report
from lsuv_cli.report.json_parts import (
    DrawSettings,
    LayerFacts,
    MomentFacts,
    RunMembers,
    SampleMembers,
    as_text,
    finite,
    layer_facts,
    moment_facts,
    run_members,
    sample_members,
)
from lsuv_cli.report.json_types import Count, InitStatus, Keywords, Positive, PositiveCount


class WrittenFiles(TypedDict):
    """The written file; with several, the shards and last their index."""

    path: str
    files: Annotated[list[str], Keywords(minItems=1)]
    bytes: PositiveCount


class InitLayer(LayerFacts):
    """Results at one layer."""

    target_std: Positive
    status: InitStatus
    detail: str
    scale: float | list[float]
    iterations: Count
    before: MomentFacts | None
    after: MomentFacts | None
    deviation: float | None


class InitDocument(RunMembers, SampleMembers):
    """Output of `lsuv init --json`."""

    schema: Literal["lsuv.report/1"]
    options: DrawSettings
    out: WrittenFiles
    layers: Annotated[list[InitLayer], Keywords(minItems=1)]
    converged: bool


def init_json(report: Report) -> str:
    """Return the results as indented JSON text; docs/report.schema.json is its schema."""
    document: InitDocument = {
        "schema": "lsuv.report/1",
        **run_members(report),
        "options": cast("DrawSettings", dict(report.settings)),
        **sample_members(report),
        "out": {
            "path": report.out,
            "files": list(report.files),
            "bytes": report.bytes_written,
        },
        "layers": [_layer(index, result) for index, result in enumerate(report.layers)],
        "converged": not report.failures,
    }
    return as_text(document)


def _layer(index: int, result: LayerResult) -> InitLayer:
    return {
        **layer_facts(index, result.planned.layer),
        "target_std": result.planned.target_std,
        "status": result.status.value,
        "detail": result.detail,
        "scale": _scale(result.scale),
        "iterations": result.iterations,
        "before": moment_facts(result.before),
        "after": moment_facts(result.after),
        "deviation": finite(result.deviation),
    }


def _scale(scale: NDArray[np.float64]) -> float | list[float]:
    """Return a layer's scale, or its scales by channel."""
    return float(scale) if scale.ndim == 0 else [float(value) for value in scale]
