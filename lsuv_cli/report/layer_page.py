"""What the pages of `lsuv init` and `lsuv verify` have in common: targets and distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.distribution import Distribution
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.records import Layer, PlannedLayer
from lsuv_cli.core.results import tolerated
from lsuv_cli.report import words
from lsuv_cli.report.page import (
    Cell,
    Chart,
    Column,
    Curve,
    Histogram,
    Holds,
    LayerHistograms,
    Tone,
)

WEIGHT_COLUMNS = (Column("weight"), Column("parameter", Holds.NAME))
DISTRIBUTION_COLUMNS = (Column("dead", Holds.NUMBER), Column("saturated", Holds.NUMBER))
IN_THE_TABLE = "in the table below"
REASON = Column("reason", Holds.SENTENCE)


def depth_chart(
    layers: Sequence[PlannedLayer],
    curves: Mapping[str, Sequence[Moments | None]],
    per: Per,
    tol: float,
) -> Chart:
    """The standard deviation of each layer's output, and what it is to be.

    Args:
        layers: in execution order.
        curves: by name, the moments of each layer's output.
        per: what has the target; the tolerance of a channel is none of a whole layer.
        tol: tolerated |Var / target_std^2 - 1|.
    """
    return Chart(
        title="Standard deviation of each layer's output, by depth",
        y_label="standard deviation",
        layers=tuple(planned.layer.name for planned in layers),
        curves=tuple(
            Curve(name, tuple(words.std(one) for one in moments))
            for name, moments in curves.items()
        ),
        targets=tuple(planned.target_std for planned in layers),
        tolerated=tuple(_bounds(planned, tol) for planned in layers) if per is Per.LAYER else (),
    )


def _bounds(planned: PlannedLayer, tol: float) -> tuple[float, float]:
    spare = tolerated(planned.layer, tol)
    target = planned.target_std
    return target * math.sqrt(max(0.0, 1 - spare)), target * math.sqrt(1 + spare)


def layer_histograms(
    layers: Sequence[PlannedLayer],
    distributions: Mapping[int, Distribution],
    name: str,
    series: int,
) -> tuple[LayerHistograms, ...]:
    """How each layer's output is distributed; nothing where nothing was looked at.

    Args:
        layers: in execution order.
        distributions: by the layer's index.
        name: with which weights.
        series: the place of their curve in the chart.
    """
    return tuple(
        LayerHistograms(
            planned.layer.name,
            (_histogram(distributions[index], name, series),) if index in distributions else (),
        )
        for index, planned in enumerate(layers)
        if distributions
    )


def _histogram(one: Distribution, name: str, series: int) -> Histogram:
    return Histogram(name, tuple(one.edges.tolist()), tuple(one.shares.tolist()), series)


def weight_cells(layer: Layer) -> tuple[Cell, Cell]:
    """The cells of `WEIGHT_COLUMNS`."""
    return Cell(words.weight(layer)), Cell(layer.parameter)


def distribution_cells(one: Distribution | None) -> tuple[Cell, Cell]:
    """The cells of `DISTRIBUTION_COLUMNS`."""
    dead, saturated = (one.dead, one.saturated) if one else (None, None)
    return Cell(words.share(dead), dead), Cell(words.share(saturated), saturated)


def status_cell(status: Status) -> Cell:
    """A status in its tone."""
    if status.is_failure:
        return Cell(status.value, tone=Tone.BAD)
    is_good = status in (Status.CONVERGED, Status.WITHIN)
    return Cell(status.value, tone=Tone.GOOD if is_good else Tone.PLAIN)
