"""`init`, `verify`, `inspect`, `apply` and `compare` agree on random graphs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsuv_cli.core.options import SampleOptions
from support.agreement import hold_to_agree
from support.graphs import save_graph
from support.initialization import run
from support.random_graphs import CHANNELS, Builder, built_graphs
from support.sample_files import SAMPLES, save_samples

OWN = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _hold(builder: Builder, exclude: tuple[str, ...]) -> None:
    shape = (CHANNELS, 6, 6) if builder.convolutional else (CHANNELS,)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = save_graph(folder / "m.onnx", builder.nodes, builder.weights, ("n", *shape))
        samples = save_samples(folder, shape)
        out = folder / "w.safetensors"
        report, _ = run(path, samples, out=out, exclude=exclude)
        options = {
            "model": path,
            "samples": SampleOptions(data=(str(samples),), count=SAMPLES),
            "device": "cpu",
            "exclude": exclude,
        }
        hold_to_agree(report, out, folder / "applied.onnx", options)


# The first layer always has the weight w0, and others may share it.
EXCLUDED = st.sampled_from([(), (), ("w0",)])


@settings(OWN, max_examples=8)
@given(built_graphs(), EXCLUDED)
def test_random_graphs(builder: Builder, exclude: tuple[str, ...]) -> None:
    _hold(builder, exclude)


@pytest.mark.thorough
@settings(OWN, max_examples=300)
@given(built_graphs(), EXCLUDED)
def test_many_random_graphs(builder: Builder, exclude: tuple[str, ...]) -> None:
    _hold(builder, exclude)
