"""Parts that the pages of several commands share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from lsuv_cli.core.choices import Per
from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.indices import LayerIndex, by_layer
from lsuv_cli.core.records import InputStatistics, PlannedLayer, RunReport
from lsuv_cli.core.results import tolerated
from lsuv_cli.report.page import Chart, Curve, Fact, Histogram, LayerHistograms, Section
from lsuv_cli.report.versions import file_hashes, versions

IN_THE_TABLE = "in the table below"

MOST_NOTES = 5


def depth_chart(
    layers: Sequence[PlannedLayer],
    curves: Mapping[str, Sequence[float | None]],
    title: str = "Standard deviation of each layer's output, by depth",
) -> Chart:
    """Return a chart of standard deviations by depth.

    Args:
        layers: in execution order.
        curves: by name, each layer's standard deviation; None where it was not measured.
        title: the heading.
    """
    return Chart(
        title=title,
        y_label="standard deviation",
        layers=tuple(planned.layer.name for planned in layers),
        curves=tuple(Curve(name, tuple(stds)) for name, stds in curves.items()),
    )


def with_targets(chart: Chart, layers: Sequence[PlannedLayer], per: Per, tol: float) -> Chart:
    """Return the chart with each layer's target, and with what is tolerated around it.

    Args:
        chart: of the layers' standard deviations.
        layers: in execution order.
        per: what shares a scale; with one per channel, a whole layer has no tolerance.
        tol: tolerated |Var / target_std^2 - 1|.
    """
    bounds = tuple(_bounds(planned, tol) for planned in layers) if per is Per.LAYER else ()
    targets = tuple(planned.target_std for planned in layers)
    return replace(chart, targets=targets, tolerated=bounds)


def _bounds(planned: PlannedLayer, tol: float) -> tuple[float, float]:
    spare = tolerated(planned.layer, tol)
    target = planned.target_std
    return target * math.sqrt(max(0.0, 1 - spare)), target * math.sqrt(1 + spare)


def layer_histograms(
    layers: Sequence[PlannedLayer],
    distributions: Mapping[LayerIndex, Distribution],
    name: str,
    series: int,
) -> tuple[LayerHistograms, ...]:
    """Return each layer's histograms; nothing where no distribution was measured.

    Args:
        layers: in execution order.
        distributions: by the layer's index.
        name: the curve with the same weights.
        series: the index of that curve in the chart.
    """
    return tuple(
        LayerHistograms(
            planned.layer.name,
            (_histogram(distributions[index], name, series),) if index in distributions else (),
        )
        for index, planned in by_layer(layers)
        if distributions
    )


def _histogram(one: Distribution, name: str, series: int) -> Histogram:
    return Histogram(name, tuple(one.edges.tolist()), tuple(one.shares.tolist()), series)


def first_notes(notes: Sequence[str], where: str) -> list[str]:
    """Return the first notes on layers, and how many more there are.

    Args:
        notes: one per layer.
        where: where all of them are found.
    """
    more = len(notes) - MOST_NOTES
    return [*notes[:MOST_NOTES], *([f"and {more} more, {where}"] if more > 0 else [])]


def run_notes(report: RunReport) -> list[str]:
    """Return the notes on layers left as they are, and on samples left out."""
    notes = []
    if report.left_alone:
        notes.append(f"left as they are: {'; '.join(report.left_alone)}")
    if report.skipped_samples:
        skipped = "; ".join(f"{path}: {reason}" for path, reason in report.skipped_samples)
        notes.append(f"left out, since they can't be read: {skipped}")
    return notes


def run_sections(report: RunReport, own: Iterable[Section] = ()) -> tuple[Section, ...]:
    """Return the model, a command's own sections, the samples, the options and the versions."""
    return (
        Section(
            "Model",
            (
                Fact("file", report.model),
                Fact("SHA-256", report.model_sha256),
                Fact("opset", str(report.opset)),
            ),
        ),
        *own,
        Section(
            "Samples",
            (
                Fact("used", f"{report.samples:,} of {report.available_samples:,}"),
                *(Fact(f"input {one.name}", _input(one)) for one in report.inputs),
            ),
        ),
        Section(
            "Options",
            tuple(Fact(name, _option(value)) for name, value in report.settings.items()),
        ),
        Section(
            "Versions",
            (
                Fact("lsuv", report.version),
                *(Fact(name, version) for name, version in versions()),
                Fact("device", report.device),
                Fact("processes", str(report.processes)),
            ),
        ),
    )


def hash_facts(files: Iterable[str]) -> Iterator[Fact]:
    """Yield the SHA-256 of each file.

    Raises:
        OSError: a file can't be read.
    """
    for name, value in file_hashes(files):
        yield Fact(f"SHA-256 of {name}", value)


def _input(statistics: InputStatistics) -> str:
    shape = "x".join(map(str, statistics.shape))
    return f"{shape} {statistics.dtype}, mean {statistics.mean:.4g}, std {statistics.std:.4g}"


def _option(value: object) -> str:
    if value is None or value in ([], {}):
        return "-"
    return value if isinstance(value, str) else json.dumps(value)
