"""How results are written down for people, in the terminal and on the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Layer, LayerResult, Report
from lsuv_cli.core.verification import Verdict

# Where the weights went, in place of a path.
STDOUT = "-"


def count_layers(layers: Sequence[object]) -> str:
    """How many layers there are."""
    return "1 layer" if len(layers) == 1 else f"{len(layers)} layers"


def tally(layers: Sequence[LayerResult | Verdict]) -> str:
    """How many layers there are, and how many ended how."""
    counts = Counter(layer.status for layer in layers)
    parts = ", ".join(f"{count} {status.value}" for status, count in counts.items())
    return f"{count_layers(layers)}: {parts}"


def outcome(report: Report) -> str:
    """How many layers ended how, and how far from the target they are at most."""
    measured = [result for result in report.layers if result.after is not None]
    deviations = [
        result.after.deviation(result.planned.target_std, per_channel=report.per is Per.CHANNEL)
        for result in measured
        if result.after is not None and result.status in (Status.CONVERGED, Status.MAX_ITERATIONS)
    ]
    text = tally(report.layers)
    if deviations:
        text += f", {largest_deviation(report.layers, report.per)} {max(deviations):.1e}"
    return text if measured else f"{text}, not verified"


def largest_deviation(layers: Sequence[LayerResult | Verdict], per: Per) -> str:
    """What the largest deviation from the targets is called."""
    if per is Per.LAYER and all(layer.planned.target_std == 1 for layer in layers):
        return "largest |Var-1|"
    return "largest |Var/target-1|" + (" of a channel" if per is Per.CHANNEL else "")


def written(report: Report) -> str:
    """What was written, and its size."""
    wrote = "to stdout" if report.out == STDOUT else report.files[-1]
    if len(report.files) > 1:
        wrote += f" and {len(report.files) - 1} shards"
    return f"wrote {wrote} ({report.bytes_written / 1e6:.1f} MB)"


def details(layers: Iterable[LayerResult | Verdict]) -> list[str]:
    """The reasons of statuses, a sentence for each layer that has one."""
    return [
        f"{result.planned.layer.name}: {result.status.value}: {result.detail}"
        for result in layers
        if result.detail
    ]


def weight(layer: Layer) -> str:
    """The weight's shape, with its groups."""
    shape = "x".join(map(str, layer.layout.shape))
    return f"{shape} g{layer.layout.groups}" if layer.layout.groups > 1 else shape


def variance(moments: Moments | None) -> str:
    """The variance, or a dash where nothing was measured."""
    if moments is None:
        return "-"
    value = moments.blob_variance
    if not math.isfinite(value):
        return str(value)
    # Six digits after the point where it is near 1, which is what the table is read for.
    return f"{value:.6f}" if 0.1 <= value < 10 else f"{value:.3g}"


def std(moments: Moments | None) -> float | None:
    """The standard deviation; None where nothing was measured."""
    return None if moments is None else math.sqrt(moments.blob_variance)


def number(value: float | None) -> str:
    """A mean or standard deviation, or a dash where nothing was measured."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if 0.1 <= abs(value) < 10 else f"{value:.3g}"


def share(value: float | None) -> str:
    """A share in percent, or a dash where there is none."""
    return "-" if value is None else f"{100 * value:.3g}%"


def scale(result: LayerResult, per: Per) -> str:
    """The scale, the range of its channels, or a dash where nothing was scaled."""
    if result.planned.skipped is not None or result.status is Status.UNSCALED:
        return "-"
    if per is Per.CHANNEL and result.scale.ndim:
        return f"{result.scale.min():.4g}..{result.scale.max():.4g}"
    return f"{float(result.scale):.4g}"
