"""Samples in several batches give what one batch gives, whatever is kept between segments."""

from __future__ import annotations

import gc
import sys
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from lsuv_cli.budget import Budget
from lsuv_cli.core.choices import BatchNorm, Bias, Per, Status
from lsuv_cli.core.records import InstrumentedGraph, Report, Specs
from lsuv_cli.model.footprint import footprint
from lsuv_cli.model.layers import find_layers
from lsuv_cli.model.onnx_model import read_model
from lsuv_cli.model.sweeping import Sweep
from lsuv_cli.model.value_sizes import value_sizes
from support.graphs import random_weight, save_graph
from test_oracle import run, save_samples

CHANNELS = 8
SAMPLES = 23


def convolutional(folder: Path) -> Path:
    """Normalisations, a skip connection, branches, a shared weight, biases of every kind."""
    wide = (CHANNELS, CHANNELS, 3, 3)
    weights: dict[str, Any] = {
        "w0": random_weight(CHANNELS, 3, 3, 3, seed=1) * 3,
        "b0": random_weight(CHANNELS, seed=2) * 0.3,
        **{f"w{i}": random_weight(*wide, seed=i) for i in (1, 2, 3, 4)},
        "b2": random_weight(CHANNELS, seed=3) * 0.2,
        "wf": random_weight(CHANNELS * 16, 12, seed=5),
        "bf": random_weight(12, seed=6) * 0.1,
        "wg": random_weight(5, 12, seed=7),
        "bg": random_weight(5, seed=8) * 0.1,
    }
    for kind in ("n1", "n2"):
        weights |= {
            f"{kind}_scale": 1 + random_weight(CHANNELS, seed=9) * 0.2,
            f"{kind}_shift": random_weight(CHANNELS, seed=10) * 0.2,
            f"{kind}_mean": random_weight(CHANNELS, seed=11),
            f"{kind}_var": np.abs(random_weight(CHANNELS, seed=12)) + 0.5,
        }

    def conv(data: str, output: str, *weight: str) -> onnx.NodeProto:
        return helper.make_node("Conv", [data, *weight], [output], name=output, pads=[1] * 4)

    def norm(data: str, output: str, name: str) -> onnx.NodeProto:
        parts = [f"{name}_{part}" for part in ("scale", "shift", "mean", "var")]
        return helper.make_node("BatchNormalization", [data, *parts], [output])

    nodes = [
        conv("x", "c0", "w0", "b0"),
        helper.make_node("Relu", ["c0"], ["r0"]),
        conv("r0", "c1", "w1"),
        norm("c1", "m1", "n1"),
        helper.make_node("Relu", ["m1"], ["r1"]),
        conv("r1", "c2", "w2", "b2"),
        helper.make_node("Add", ["c2", "r0"], ["s2"]),
        helper.make_node("Tanh", ["s2"], ["t2"]),
        conv("t2", "c3", "w3"),
        norm("c3", "m3", "n2"),
        helper.make_node("Add", ["m3", "r1"], ["s3"]),
        conv("s3", "c4", "w1"),
        helper.make_node("Sigmoid", ["c4"], ["g4"]),
        helper.make_node("Mul", ["c4", "g4"], ["u4"]),
        helper.make_node("Flatten", ["u4"], ["f"]),
        helper.make_node("MatMul", ["f", "wf"], ["mf"], name="mf"),
        helper.make_node("Add", ["mf", "bf"], ["af"]),
        helper.make_node("Relu", ["af"], ["rf"]),
        helper.make_node("Gemm", ["rf", "wg", "bg"], ["y"], name="y", transB=1),
    ]
    return save_graph(folder / "m.onnx", nodes, weights, ("n", 3, 4, 4))


def scales(report: Report) -> np.ndarray:
    return np.concatenate([np.ravel(layer.scale) for layer in report.layers])


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
        monkeypatch.setattr("lsuv_cli.sweep.spill.RESERVE_BYTES", sys.maxsize)
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
    """The first one's mean is large beside its deviation; how far factors pass changes with it."""
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
def swept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[weakref.ref[Sweep], bytes]]:
    """What has made the graph of each segment, and the graph."""
    made: list[tuple[weakref.ref[Sweep], bytes]] = []
    close = Sweep.close

    def watched(sweep: Sweep, feeds: Specs) -> InstrumentedGraph:
        graph = close(sweep, feeds)
        made.append((weakref.ref(sweep), graph.model))
        return graph

    monkeypatch.setattr(Sweep, "close", watched)
    return made


def test_weights_go_with_the_graph_that_was_made_with_them(
    tmp_path: Path, swept: list[tuple[weakref.ref[Sweep], bytes]]
) -> None:
    """What is made for a segment holds its weights, and must not wait for the garbage collector."""
    gc.disable()
    try:
        run(convolutional(tmp_path), save_samples(tmp_path, (3, 4, 4), SAMPLES), batch_size=5)
        alive = [sweep for sweep, _ in swept if sweep() is not None]
    finally:
        gc.enable()
    assert swept
    assert not alive


def test_what_measuring_takes_is_predicted(
    tmp_path: Path, swept: list[tuple[weakref.ref[Sweep], bytes]]
) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"]),
    ]
    weights = {"w1": random_weight(8, 3, 3, 3), "w2": random_weight(16, 8, 3, 3)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ["n", 3, 16, 16])
    run(path, save_samples(tmp_path, (3, 16, 16), SAMPLES))
    ((_, graph),) = swept
    proto = onnx.ModelProto.FromString(graph)
    fetched = [value.name for value in proto.graph.output]
    sizes = value_sizes(proto, {"x": (3, 16, 16)}, {}, {})
    model, parameters = read_model(path)
    products = [site.node.output[0] for site in find_layers(model)]
    shapes = {"x": ((3, 16, 16), np.dtype(np.float32))}
    budget = Budget(model, parameters, products, shapes, 1 << 30, None)
    taken = footprint(list(proto.graph.node), fetched, sizes).peak_bytes(5000)
    assert budget.working_bytes(5000) == pytest.approx(taken, rel=0.02)
    unmeasured = Budget(model, parameters, (), shapes, 1 << 30, None)
    assert unmeasured.working_bytes(5000) < 0.8 * taken
