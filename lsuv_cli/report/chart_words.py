"""Descriptions of a chart: its curves, for readers who can't see them, and values not drawn."""

from __future__ import annotations

from lsuv_cli.report.numbers import number
from lsuv_cli.report.page import Chart, Curve

MOST_NAMED = 3


def describe(chart: Chart) -> str:
    """Return the course of each curve, in a sentence each."""
    return " ".join(f"{_course(chart, curve)}." for curve in chart.curves)


def undrawn(chart: Chart) -> str:
    """Return the values that have no place in the chart; empty where all have one."""
    parts = []
    for curve in chart.curves:
        found = [
            f"{layer} ({value:g})"
            for layer, value in zip(chart.layers, curve.values, strict=True)
            if value is not None and not chart.has_place(value)
        ]
        if found:
            more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
            parts.append(f"{curve.name}: {', '.join(found[:MOST_NAMED])}{more}")
    return f"Not drawn, because the scale can't show them: {'; '.join(parts)}." if parts else ""


def _course(chart: Chart, curve: Curve) -> str:
    points = [
        (layer, value)
        for layer, value in zip(chart.layers, curve.values, strict=True)
        if chart.has_place(value)
    ]
    if not points:
        return f"{curve.name}: nothing to draw"
    (first, start), (last, end) = points[0], points[-1]
    if len(points) == 1:
        return f"{curve.name}: {number(start)} at {first}"
    low_layer, low = min(points, key=lambda point: point[1])
    high_layer, high = max(points, key=lambda point: point[1])
    text = f"{curve.name}: {number(start)} at {first}, {number(end)} at {last}"
    if low != high:
        text += f", smallest {number(low)} at {low_layer}, largest {number(high)} at {high_layer}"
    return text
