"""Random small graphs: chains, branches, shared weights, groups, transposes.

Given the draws, Algorithm 1's scales are the only ones under which every layer, one after the
other, has unit variance; so that is what is checked, by ONNX Runtime alone on the written file.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lsuv_cli.core.choices import Per, Status
from support.graphs import save_graph
from support.inference import forward
from support.initialization import run
from support.random_graphs import CHANNELS, Builder, built_graphs
from support.sample_files import save_samples


@settings(max_examples=60, deadline=None)
@given(
    built_graphs(),
    st.sampled_from(list(Per)),
    st.sampled_from([1, 1000, 10**9]),
    st.sampled_from([None, 3, 7]),
    st.sampled_from([1, 3000, 10**9]),
)
def test_every_layer_has_unit_variance(
    builder: Builder, per: Per, segment_bytes: int, batch_size: int | None, memory_bytes: int
) -> None:
    shape = (CHANNELS, 6, 6) if builder.convolutional else (CHANNELS,)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = save_graph(folder / "m.onnx", builder.nodes, builder.weights, ("n", *shape))
        samples = save_samples(folder, shape)
        limits = {
            "max_segment_bytes": segment_bytes,
            "batch_size": batch_size,
            "memory_bytes": memory_bytes,
        }
        report, written = run(path, samples, per=per, tol=1e-4, **limits)
        feeds = {"x": np.load(samples)}
        by_name = {result.planned.layer.name: result for result in report.layers}
        for value in builder.layers:
            result = by_name[f"n{value}"]
            output = forward(path, written, feeds, value).astype(np.float64)
            if result.status is Status.CONVERGED:
                if per is Per.CHANNEL:
                    axes = (0, 2, 3) if builder.convolutional else (0,)
                    np.testing.assert_allclose(output.var(axes), 1, atol=2e-4)
                else:
                    assert abs(output.var() - 1) <= 2e-4, result.planned.layer.name
            elif result.status is Status.ZERO_VARIANCE:
                axes = (0, 2, 3) if builder.convolutional else (0,)
                assert min(output.var(), *output.var(axes).ravel()) < 1e-9
            else:
                assert result.status is Status.SHARED, result.detail
        assert len(by_name) == len(builder.layers)
