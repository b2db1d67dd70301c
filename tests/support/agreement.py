"""The five commands run on one model, and held to agree on its layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lsuv_cli.core.choices import Init, Status
from lsuv_cli.core.events import Silent
from lsuv_cli.core.inspection import Inspection
from lsuv_cli.core.options import ApplyOptions, CompareOptions, InspectOptions, VerifyOptions
from lsuv_cli.core.records import PlannedLayer, Report
from lsuv_cli.core.verification import Verification
from lsuv_cli.jobs.apply import apply_weights
from lsuv_cli.jobs.compare import compare_inits
from lsuv_cli.jobs.inspect import inspect_model
from lsuv_cli.jobs.verify import verify_weights

# What `verify` may call a layer that `init` gave a status; one of another status has the same.
JUDGED = {
    Status.CONVERGED: {Status.WITHIN},
    Status.SHARED: {Status.SHARED, Status.WITHIN},
    Status.MAX_ITERATIONS: {Status.OUTSIDE},
}
DECIDED_WITH_SAMPLES = Status.UNREACHABLE


def hold_to_agree(report: Report, weights: Path, out: Path, options: Mapping[str, Any]) -> None:
    """Run the other commands on what `init` read and wrote, and compare all of them.

    Args:
        report: of `init`.
        weights: the file that it wrote.
        out: an ONNX file to write.
        options: model, samples, device and names, as `init` had them.
    """
    own = {name: value for name, value in options.items() if name != "model"}
    model = options["model"]
    verified = verify_weights(VerifyOptions(weights=weights, model=model, **own), Silent())
    inspected = inspect_model(InspectOptions(model=model, **own), Silent())
    compare = CompareOptions(model=model, inits=(Init.LSUV,), backward=False, **own)
    compared = compare_inits(compare, Silent())
    planned = [one.planned for one in report.layers]
    assert _rows(one.planned for one in verified.layers) == _rows(planned)
    assert _rows(compared.layers) == _rows(planned)
    assert verified.left_alone == report.left_alone == compared.left_alone
    _hold_statuses(report, verified)
    assert len(compared.inits[0].failures) == len(report.failures)
    _hold_inspection(inspected, report)
    apply_weights(ApplyOptions(model=model, weights=weights, out=out), Silent())
    again = verify_weights(VerifyOptions(weights=None, model=out, **own), Silent())
    _hold_measurements(verified, again)


def _rows(planned: Iterable[PlannedLayer]) -> list[tuple[object, ...]]:
    """Return each layer's name, ties, and what is done with it."""
    return [
        (one.layer.name, one.layer.node, one.layer.weight_name, one.first_use, one.skipped)
        for one in planned
    ]


def _hold_statuses(report: Report, verified: Verification) -> None:
    for one, other in zip(report.layers, verified.layers, strict=True):
        assert other.status in JUDGED.get(one.status, {one.status}), one.planned.layer.name
    assert bool(verified.failures) == bool(report.failures)


def _hold_inspection(inspected: Inspection, report: Report) -> None:
    """Hold what is known without samples: all but which branches run, and how often loops do."""
    named = [(one.planned.layer.node, one.planned.layer.weight_name) for one in inspected.layers]
    layers = [one.planned.layer for one in report.layers]
    if not any(one.undecided for one in inspected.layers):
        assert named == [(one.node, one.weight_name) for one in layers]
        assert inspected.left_alone == report.left_alone
    else:
        assert set(named) <= {(one.node, one.weight_name) for one in layers}
    by_node = {one.planned.layer.node: one.planned for one in report.layers}
    for one in inspected.layers:
        other = by_node[one.planned.layer.node]
        if other.skipped_status is not DECIDED_WITH_SAMPLES:
            assert one.planned.skipped == other.skipped


def _hold_measurements(verified: Verification, again: Verification) -> None:
    """Hold that the applied model is measured as the original with the file of weights."""
    assert [one.status for one in again.layers] == [one.status for one in verified.layers]
    for one, other in zip(verified.layers, again.layers, strict=True):
        if one.moments is not None and other.moments is not None and one.moments.is_finite:
            found, expected = other.moments.blob_variance, one.moments.blob_variance
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
