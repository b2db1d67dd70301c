"""The report as a table for people."""

from __future__ import annotations

import math

from rich.table import Table
from rich.text import Text

from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Layer, LayerResult, Report

STYLES = {
    Status.CONVERGED: "green",
    Status.SHARED: "cyan",
    Status.EXCLUDED: "dim",
    Status.UNSCALED: "cyan",
    Status.WITHIN: "green",
}
FAILURE_STYLE = "bold red"


def render_table(report: Report) -> Table:
    """One row a layer, in execution order."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    add_layer_columns(table)
    for title in ("var before", "var after", "scale"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    for result in report.layers:
        table.add_row(
            *layer_cells(result.planned.layer),
            _variance(result.before),
            _variance(result.after),
            _scale(result, report.per),
            status_cell(result.status),
        )
    return table


def add_layer_columns(table: Table) -> None:
    """Add the columns that say which layer a row is of."""
    for title in ("layer", "op", "weight"):
        table.add_column(title, no_wrap=True, overflow="ellipsis")


def layer_cells(layer: Layer) -> tuple[Text, Text, Text]:
    """Which layer it is: name, operator, the weight's shape."""
    shape = "x".join(map(str, layer.layout.shape))
    groups = f" g{layer.layout.groups}" if layer.layout.groups > 1 else ""
    return Text(layer.name), Text(layer.op), Text(shape + groups)


def status_cell(status: Status) -> Text:
    """A status in its colour."""
    return Text(status.value, style=STYLES.get(status, FAILURE_STYLE))


def render_summary(report: Report, seconds: float) -> list[str]:
    """What else there is to say: details of statuses, and one line on the whole."""
    lines = [
        f"{result.planned.layer.name}: {result.status.value}: {result.detail}"
        for result in report.layers
        if result.detail
    ]
    counts: dict[Status, int] = {}
    for result in report.layers:
        counts[result.status] = counts.get(result.status, 0) + 1
    layers = "1 layer" if len(report.layers) == 1 else f"{len(report.layers)} layers"
    parts = ", ".join(f"{count} {status.value}" for status, count in counts.items())
    deviations = [
        result.after.deviation(result.planned.target_std, per_channel=report.per is Per.CHANNEL)
        for result in report.layers
        if result.after is not None and result.status is Status.CONVERGED
    ]
    measured = f", largest |Var-1| {max(deviations):.1e}" if deviations else ", not verified"
    wrote = report.files[-1]
    if len(report.files) > 1:
        wrote += f" and {len(report.files) - 1} shards"
    lines.append(
        f"{layers}: {parts}{measured}; wrote {wrote} "
        f"({report.bytes_written / 1e6:.1f} MB) in {seconds:.1f} s on {report.device}"
    )
    return lines


def _variance(moments: Moments | None) -> str:
    if moments is None:
        return "-"
    variance = moments.blob_variance
    if not math.isfinite(variance):
        return str(variance)
    # Six digits after the point where it is near 1, which is what the table is read for.
    return f"{variance:.6f}" if 0.1 <= variance < 10 else f"{variance:.3g}"


def _scale(result: LayerResult, per: Per) -> str:
    if result.planned.skipped is not None or result.status is Status.UNSCALED:
        return "-"
    if per is Per.CHANNEL and result.scale.ndim:
        return f"{result.scale.min():.4g}..{result.scale.max():.4g}"
    return f"{float(result.scale):.4g}"
