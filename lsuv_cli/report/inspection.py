"""What `lsuv inspect` found, as JSON and as a table; docs/inspect.schema.json is the schema."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from lsuv_cli.core.inspection import InspectedLayer, Inspection
from lsuv_cli.report.as_json import as_text, layer_document
from lsuv_cli.report.table import add_layer_columns, layer_cells

SCHEMA = "lsuv.inspect/1"


def render_inspection_json(inspection: Inspection) -> str:
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


def render_inspection(inspection: Inspection) -> Group:
    """The inputs, one row a layer in execution order, and the plan."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    add_layer_columns(table)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("name in the file of weights", no_wrap=True, overflow="ellipsis")
    table.add_column("note", overflow="fold")
    for one in inspection.layers:
        table.add_row(
            *layer_cells(one.planned.layer),
            f"{one.planned.layer.parameters:,}",
            Text(one.planned.layer.parameter),
            Text(_note(one), style="dim" if one.planned.skipped else ""),
        )
    above = [
        Text(
            f"{inspection.model}: opset {inspection.opset}, {inspection.nodes} nodes, "
            f"{inspection.parameters:,} parameters"
            + (f", written by {inspection.producer}" if inspection.producer else "")
        )
    ]
    above += [
        Text(f"input {one.spec.describe()} {one.spec.dtype}: {one.meaning}")
        for one in inspection.inputs
    ]
    below = []
    if inspection.plan is not None:
        plan = inspection.plan
        below.append(Text(f"{plan.samples} samples in batches of {plan.batch_size}; {plan.text}"))
    return Group(*above, table, *below)


def _note(one: InspectedLayer) -> str:
    parts = []
    if one.planned.skipped:
        parts.append(f"left as it is: {one.planned.skipped}")
    if one.planned.layer.recurrent:
        parts.append("recurrent: orthonormal, not scaled")
    if one.shares_with:
        parts.append(f"shares its weight with {', '.join(one.shares_with)}")
    if one.onnx_weight != one.planned.layer.parameter:
        parts.append(f"in the ONNX file: {one.onnx_weight}")
    return "; ".join(parts)
