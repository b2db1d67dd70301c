"""Results of `lsuv inspect` as JSON."""

from __future__ import annotations

from typing import Any

from lsuv_cli.core.inspection import InspectedLayer, Inspection
from lsuv_cli.report.json_parts import as_text, layer_document

SCHEMA = "lsuv.inspect/1"


def inspection_json(inspection: Inspection) -> str:
    """All of it, as indented JSON text."""
    plan = inspection.plan
    return as_text(
        {
            "schema": SCHEMA,
            "version": inspection.version,
            "model": {
                "path": inspection.model,
                "sha256": inspection.model_sha256,
                "opset": inspection.opset,
                "producer": inspection.producer or None,
                "nodes": inspection.nodes,
                "parameters": inspection.parameters,
            },
            "inputs": [
                {
                    "name": one.spec.name,
                    "dtype": one.spec.dtype or None,
                    "shape": None if one.spec.shape is None else list(one.spec.shape),
                    "meaning": one.meaning,
                }
                for one in inspection.inputs
            ],
            "layers": [_layer(index, one) for index, one in enumerate(inspection.layers)],
            "left_alone": list(inspection.left_alone),
            "plan": None
            if plan is None
            else {
                "samples": plan.samples,
                "batch_size": plan.batch_size,
                "segments": plan.segments,
                "working_bytes": plan.working_bytes,
                "kept_bytes": plan.kept_bytes,
                "spilled_bytes": plan.spilled_bytes,
                "weight_bytes": plan.weight_bytes,
                "node_executions": plan.executions,
                "repeated_executions": plan.repeated,
            },
        }
    )


def _layer(index: int, one: InspectedLayer) -> dict[str, Any]:
    planned = one.planned
    return {
        **layer_document(index, planned.layer),
        "onnx_weight": one.onnx_weight,
        "shares_weight_with": list(one.shares_with),
        "recurrent": planned.layer.recurrent,
        "target_std": planned.target_std,
        "skipped": planned.skipped,
    }
