"""What the reports of all jobs with samples have in common."""

from __future__ import annotations

from typing import Any

from lsuv_cli import __version__
from lsuv_cli.jobs.preparing import Prepared


def run_facts(prepared: Prepared) -> dict[str, Any]:
    """The fields of `RunReport`."""
    given, model, batches = prepared.given, prepared.model, prepared.loaded.batches
    return {
        "version": __version__,
        "model": str(given.options.model),
        "model_sha256": model.sha256,
        "opset": model.opset,
        "settings": prepared.settings,
        "device": given.device.label,
        "per": given.options.per,
        "tol": given.options.tol,
        "samples": batches.total,
        "processes": given.group.size,
        "available_samples": batches.available,
        "skipped_samples": batches.skipped,
        "inputs": batches.statistics,
        "left_alone": tuple(prepared.layers.left_alone),
    }
