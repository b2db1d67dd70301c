"""Samples in several batches give what one batch gives, whatever is kept between segments."""

from __future__ import annotations

import gc
import sys
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from lsuv_cli.core.choices import BatchNorm, Bias, Per, Status
from lsuv_cli.core.measurements import InstrumentedGraph
from lsuv_cli.core.records import Specs
from lsuv_cli.instrument.sweep_graph import SweepGraph
from support.graphs import random_weight, save_graph
from support.initialization import run, scales
from support.sample_files import save_samples
from support.small_models import convolutional

SAMPLES = 23


OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": Bias.KEEP},
    {"bias": Bias.CENTER},
    {"bn": BatchNorm.RUNNING},
    {"per": Per.CHANNEL},
    {"per": Per.CHANNEL, "bias": Bias.CENTER},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("disk", [True, False], ids=["spilled", "computed again"])
def test_batches_give_what_one_batch_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], disk: bool
) -> None:
    if not disk:
        monkeypatch.setattr("lsuv_cli.runtime.spill.RESERVE_BYTES", sys.maxsize)
    model = convolutional(tmp_path)
    samples = save_samples(tmp_path, (3, 4, 4), SAMPLES)
    one, written = run(model, samples, count=SAMPLES, **options)
    several: set[bytes] = set()
    # A batch's values at a boundary have about 20 kB here: nothing, some, or all of it is kept.
    for memory in (1, 30_000, 60_000, 10**9):
        for size in (5, 8):
            limits = {"batch_size": size, "memory_bytes": memory}
            report, weights = run(model, samples, count=SAMPLES, **options, **limits)
            tolerance = 1e-5 if "per" in options else 1e-6
            np.testing.assert_allclose(scales(report), scales(one), rtol=tolerance)
            assert weights.keys() == written.keys()
            for name, value in weights.items():
                spread = np.abs(written[name]).max()
                np.testing.assert_allclose(
                    value, written[name], rtol=1e-5, atol=spread * 1e-5, err_msg=name
                )
            assert [(layer.status, layer.iterations) for layer in report.layers] == [
                (layer.status, layer.iterations) for layer in one.layers
            ]
            several.add(scales(report).tobytes())
    assert len(several) > 1, "all batches went the same way"


def test_many_layers_behind_one_that_is_measured_again(tmp_path: Path) -> None:
    """The first layer is ill-conditioned, which changes how far pending scales are deferred."""
    sizes = [6, 1, *[6] * 30]
    shapes = dict(enumerate(pairwise(sizes)))
    weights = {f"w{i}": random_weight(*shape, seed=i) for i, shape in shapes.items()}
    nodes = []
    for i in shapes:
        data = f"a{i - 1}" if i else "x"
        nodes.append(helper.make_node("MatMul", [data, f"w{i}"], [f"z{i}"]))
        nodes.append(helper.make_node("Abs", [f"z{i}"], [f"a{i}"]))
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 6))
    np.save(tmp_path / "x.npy", random_weight(SAMPLES, 6) + 1000)
    report, _ = run(path, tmp_path / "x.npy", count=SAMPLES, batch_size=5, tol=1e-4)
    assert {(one.status, one.iterations) for one in report.layers} == {(Status.CONVERGED, 1)}


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[weakref.ref[SweepGraph], bytes]]:
    """The builder of each segment's graph, and the graph."""
    made: list[tuple[weakref.ref[SweepGraph], bytes]] = []
    close = SweepGraph.close

    def close_and_note(sweep: SweepGraph, feeds: Specs) -> InstrumentedGraph:
        graph = close(sweep, feeds)
        made.append((weakref.ref(sweep), graph.model))
        return graph

    monkeypatch.setattr(SweepGraph, "close", close_and_note)
    return made


def test_weights_go_with_the_graph_that_was_made_with_them(
    tmp_path: Path, swept: list[tuple[weakref.ref[SweepGraph], bytes]]
) -> None:
    """A segment's graph holds its weights, so it must not wait for the garbage collector."""
    gc.disable()
    try:
        run(convolutional(tmp_path), save_samples(tmp_path, (3, 4, 4), SAMPLES), batch_size=5)
        alive = [sweep for sweep, _ in swept if sweep() is not None]
    finally:
        gc.enable()
    assert swept
    assert not alive
