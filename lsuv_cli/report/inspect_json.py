"""Results of `lsuv inspect` as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import TypedDict

from lsuv_cli.core.inspection import InspectedInput, InspectedLayer, Inspection, PlannedRun
from lsuv_cli.report.json_parts import LayerFacts, ModelFacts, as_text, layer_facts
from lsuv_cli.report.json_types import Count, Keywords, Positive, PositiveCount, SkippedStatus


class InspectedModel(ModelFacts):
    """The model file: what wrote it, and how much it holds."""

    producer: str | None
    nodes: PositiveCount
    parameters: PositiveCount


class ModelInput(TypedDict):
    """An input of the model, and what samples feed it."""

    name: str
    dtype: str | None
    shape: list[int | None] | None
    batch_axis: int | None
    meaning: str


class InspectLayer(LayerFacts):
    """A layer, and what would be done with it."""

    onnx_weight: str
    shares_weight_with: list[str]
    recurrent: bool
    samples_decide: bool
    target_std: Positive
    skipped: str | None
    skipped_status: SkippedStatus | None


class PlanFacts(TypedDict):
    """Expected costs of a run of `lsuv init`."""

    samples: Count
    batch_size: Count
    segments: Count
    working_bytes: Count
    kept_bytes: Count
    spilled_bytes: Count
    weight_bytes: Count
    node_executions: Count
    repeated_executions: Count


class InspectDocument(TypedDict):
    """Output of `lsuv inspect --json`."""

    schema: Literal["lsuv.inspect/1"]
    version: str
    model: InspectedModel
    inputs: list[ModelInput]
    layers: Annotated[list[InspectLayer], Keywords(minItems=1)]
    left_alone: list[str]
    plan: PlanFacts | None


def inspection_json(inspection: Inspection) -> str:
    """Return the results as indented JSON text; docs/inspect.schema.json is its schema."""
    document: InspectDocument = {
        "schema": "lsuv.inspect/1",
        "version": inspection.version,
        "model": {
            "path": inspection.model,
            "sha256": inspection.model_sha256,
            "opset": inspection.opset,
            "producer": inspection.producer or None,
            "nodes": inspection.nodes,
            "parameters": inspection.parameters,
        },
        "inputs": [_input(one) for one in inspection.inputs],
        "layers": [_layer(index, one) for index, one in enumerate(inspection.layers)],
        "left_alone": list(inspection.left_alone),
        "plan": None if inspection.plan is None else _plan(inspection.plan),
    }
    return as_text(document)


def _input(one: InspectedInput) -> ModelInput:
    return {
        "name": one.spec.name,
        "dtype": one.spec.dtype or None,
        "shape": None if one.spec.shape is None else list(one.spec.shape),
        "batch_axis": one.spec.batch_axis,
        "meaning": one.meaning,
    }


def _layer(index: int, one: InspectedLayer) -> InspectLayer:
    planned = one.planned
    return {
        **layer_facts(index, planned.layer),
        "onnx_weight": one.onnx_weight,
        "shares_weight_with": list(one.shares_with),
        "recurrent": planned.layer.recurrent,
        "samples_decide": one.undecided,
        "target_std": planned.target_std,
        "skipped": planned.skipped,
        "skipped_status": None if planned.skipped is None else planned.skipped_status.value,
    }


def _plan(plan: PlannedRun) -> PlanFacts:
    return {
        "samples": plan.samples,
        "batch_size": plan.batch_size,
        "segments": plan.segments,
        "working_bytes": plan.working_bytes,
        "kept_bytes": plan.kept_bytes,
        "spilled_bytes": plan.spilled_bytes,
        "weight_bytes": plan.weight_bytes,
        "node_executions": plan.executions,
        "repeated_executions": plan.repeated,
    }
