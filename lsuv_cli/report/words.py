"""Results in sentences, for the terminal and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from lsuv_cli.core.choices import Per, Status
from lsuv_cli.core.comparison import Comparison, growth
from lsuv_cli.core.records import LayerResult, Report
from lsuv_cli.core.results import BY_DEVIATION
from lsuv_cli.core.verification import JUDGED, Verdict, Verification
from lsuv_cli.report.numbers import MISSING, parameter_names

# Where the weights went, in place of a path.
STDOUT = "-"


def count_layers(layers: Sequence[object]) -> str:
    """Return the number of layers in words."""
    return "1 layer" if len(layers) == 1 else f"{len(layers)} layers"


def tally(layers: Sequence[LayerResult | Verdict]) -> str:
    """Return the number of layers, and of those with each status."""
    counts = Counter(layer.status for layer in layers)
    parts = ", ".join(f"{count} {status.value}" for status, count in counts.items())
    return f"{count_layers(layers)}: {parts}"


def details(layers: Iterable[LayerResult | Verdict]) -> list[str]:
    """Return the reasons of statuses, a sentence for each layer that has one."""
    return [
        f"{result.planned.layer.name}: {result.status.value}: {result.detail}"
        for result in layers
        if result.detail
    ]


def largest_deviation(layers: Sequence[LayerResult | Verdict], per: Per) -> str:
    """Return the name of the largest deviation from the targets."""
    if per is Per.LAYER and all(layer.planned.target_std == 1 for layer in layers):
        return "largest |Var-1|"
    return "largest |Var/target-1|" + (" of a channel" if per is Per.CHANNEL else "")


def init_outcome(report: Report) -> str:
    """Return the tally of an initialisation, with the largest deviation from a target."""
    measured = [result for result in report.layers if result.after is not None]
    deviations = [
        result.deviation
        for result in measured
        if result.deviation is not None and result.status in (*BY_DEVIATION, Status.NOISY)
    ]
    text = tally(report.layers)
    if deviations:
        text += f", {largest_deviation(report.layers, report.per)} {max(deviations):.1e}"
    return text if measured else f"{text}, not verified"


def written(report: Report) -> str:
    """Return the written file, and its size."""
    wrote = "to stdout" if report.out == STDOUT else report.files[-1]
    if len(report.files) > 1:
        wrote += f" and {len(report.files) - 1} shards"
    return f"wrote {wrote} ({report.bytes_written / 1e6:.1f} MB)"


def init_summary(report: Report, seconds: float) -> list[str]:
    """Return the lines below the table of `lsuv init`: details of statuses, then the outcome."""
    return [
        *details(report.layers),
        *_computed(report.layers),
        f"{init_outcome(report)}; {written(report)} in {seconds:.1f} s on {report.device}",
    ]


def _computed(layers: Iterable[LayerResult]) -> list[str]:
    """Return which parameters were drawn and scaled of weights that are computed, in a line."""
    computed = [
        one.planned.layer
        for one in layers
        if one.planned.layer.computed_weight and one.planned.skipped is None
    ]
    if not computed:
        return []
    more = f", and {len(computed) - 1} more computed weights" if len(computed) > 1 else ""
    return [f"computed weight of {computed[0].name}: {parameter_names(computed[0])}{more}"]


def verification_details(verification: Verification) -> list[str]:
    """Return the reasons of statuses, except of `outside`, which the table shows."""
    return details(one for one in verification.layers if one.status is not Status.OUTSIDE)


def verification_outcome(verification: Verification) -> str:
    """Return the tally of a verification, the largest deviation, and the weights measured."""
    layers = verification.layers
    judged = [one for one in layers if one.status in JUDGED]
    worst = max(
        (one for one in judged if one.deviation is not None),
        key=lambda one: one.deviation or 0.0,
        default=None,
    )
    line = tally(layers)
    if worst is not None:
        line += f"; {largest_deviation(layers, verification.per)} {worst.deviation:.1e}"
        if verification.failures:
            line += f" at {worst.planned.layer.name}"
    weights = verification.weights or "the model's own weights"
    return f"{line}; measured {weights}"


def verification_summary(verification: Verification, seconds: float) -> list[str]:
    """Return the lines below the table of `lsuv verify`."""
    return [
        *verification_details(verification),
        f"{verification_outcome(verification)} in {seconds:.1f} s on {verification.device}",
    ]


def comparison_details(comparison: Comparison) -> list[str]:
    """Return the layers that LSUV could not bring to their targets, a sentence each."""
    return [f"{one.init}: {text}" for one in comparison.inits for text in one.failures]


def comparison_outcome(comparison: Comparison) -> str:
    """Return what was compared on how many samples."""
    layers = count_layers(comparison.layers)
    inits = ", ".join(one.init.value for one in comparison.inits)
    samples = f"{comparison.samples} samples"
    if comparison.has_gradients:
        samples += f", {comparison.gradient_samples} of them for gradients"
    return f"{layers} with {inits}: {samples}"


def comparison_summary(comparison: Comparison, seconds: float) -> list[str]:
    """Return the lines below the tables of `lsuv compare`."""
    return [
        *comparison_details(comparison),
        f"{comparison_outcome(comparison)}; in {seconds:.1f} s on {comparison.device}",
    ]


def growth_text(stds: Sequence[float | None]) -> str:
    """Return how a standard deviation changes from the first to the last; a dash without two."""
    found = growth(stds)
    if found is None:
        return MISSING
    return f"{found.start:.2g} to {found.end:.2g}, x{found.factor:.2g}"
