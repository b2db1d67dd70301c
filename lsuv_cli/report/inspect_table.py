"""Results of `lsuv inspect` as a table in the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.text import Text

from lsuv_cli.core.choices import Status
from lsuv_cli.core.inspection import InspectedLayer, Inspection
from lsuv_cli.report.columns import (
    Cell,
    Holds,
    LayerColumn,
    Tone,
    layer_columns,
    number_column,
    text_column,
    weight_columns,
)
from lsuv_cli.report.numbers import parameter_names
from lsuv_cli.report.terminal import select, terminal_table


def inspection_table(inspection: Inspection) -> Group:
    """Return the model, its inputs, a table with one row per layer, and the plan."""
    below = []
    if inspection.plan is not None:
        plan = inspection.plan
        below.append(Text(f"{plan.samples} samples in batches of {plan.batch_size}; {plan.text}"))
    return Group(*_heading(inspection), terminal_table(inspection_columns(inspection)), *below)


def _heading(inspection: Inspection) -> Iterator[Text]:
    text = (
        f"{inspection.model}: opset {inspection.opset}, {inspection.nodes} nodes, "
        f"{inspection.parameters:,} parameters"
    )
    yield Text(f"{text}, written by {inspection.producer}" if inspection.producer else text)
    for one in inspection.inputs:
        yield Text(f"input {one.spec.describe()} {one.spec.dtype}: {one.meaning}")


def inspection_columns(inspection: Inspection) -> Iterator[LayerColumn]:
    """Yield the columns of the results of `lsuv inspect`, from left to right."""
    layers = [one.planned.layer for one in inspection.layers]
    yield from select((*layer_columns(layers), *weight_columns(layers)), ("layer", "op", "weight"))
    yield number_column("parameters", (layer.parameter_count for layer in layers), "{:,}".format)
    names = (layer.weight_name for layer in layers)
    # Not `Holds.NAME`: where the two are too wide, the layer's name is the one to be cut.
    yield text_column("name in the file of weights", names)
    notes = (
        Cell(_note(one), tone=Tone.FAINT if one.planned.skipped else Tone.PLAIN)
        for one in inspection.layers
    )
    yield LayerColumn("note", tuple(notes), Holds.SENTENCE)


def _note(one: InspectedLayer) -> str:
    parts = []
    if one.planned.skipped:
        is_fixed = one.planned.skipped_status is Status.FIXED
        parts.append(f"{'fixed' if is_fixed else 'left as it is'}: {one.planned.skipped}")
    if one.planned.layer.computed_weight and not one.planned.skipped:
        parts.append(f"computed; {parameter_names(one.planned.layer)}")
    if one.planned.layer.recurrent:
        parts.append("recurrent: orthonormal, not scaled")
    if one.undecided:
        parts.append("inside If, Loop or Scan: the samples decide whether it runs")
    if one.shares_with:
        parts.append(f"shares its weight with {', '.join(one.shares_with)}")
    if one.onnx_weight != one.planned.layer.weight_name:
        parts.append(f"in the ONNX file: {one.onnx_weight}")
    return "; ".join(parts)
