"""Initialisation in the process of the test, by the function behind `lsuv init`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import InitOptions, SampleOptions
from lsuv_cli.core.records import Report
from lsuv_cli.jobs.init import initialize_weights
from support.sample_files import SAMPLES


def run(model: Path, data: Path, **options: Any) -> tuple[Report, dict[str, NDArray[Any]]]:
    """Initialise a model; return the report and the weights that were written.

    Args:
        model: the ONNX file.
        data: the samples.
        options: of `InitOptions`, and `count`, the number of samples.
    """
    out = options.pop("out", model.with_suffix(".safetensors"))
    report = initialize_weights(
        InitOptions(
            model=model,
            out=out,
            samples=SampleOptions(data=(str(data),), count=options.pop("count", SAMPLES)),
            force=options.pop("force", True),
            device=options.pop("device", "cpu"),
            **options,
        ),
        Silent(),
    )
    return report, load_file(out)


def scales(report: Report) -> np.ndarray:
    """Return the scales of all layers as one vector."""
    return np.concatenate([np.ravel(layer.scale) for layer in report.layers])
