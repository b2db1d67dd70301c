"""What a run takes is measured on one sample and on two; the batch size follows from it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from lsuv_cli.core.batches import GivenBatches
from lsuv_cli.layers.find import find_layers
from lsuv_cli.memory import trial
from lsuv_cli.memory.liveness import computed_use
from lsuv_cli.memory.run_memory import measure_run
from lsuv_cli.memory.trial import memory_use
from lsuv_cli.memory.use import MemoryUse
from lsuv_cli.reading.onnx_file import read_model
from lsuv_cli.runtime.session import Session
from support.command import Run
from support.graphs import node, random_weight, save_graph
from support.memory_networks import NETWORKS
from support.sample_files import save_samples

SAMPLES = 7
GB = 10**9


def tried(path: Path, shape: tuple[int, ...], limit: int = GB, **options: Any) -> MemoryUse:
    model, weights = read_model(path)
    samples = GivenBatches([{"x": random_weight(2, *shape)}])
    most = options.get("max_segment_bytes", GB)
    return memory_use(model, find_layers(model), weights, samples, 1, most, limit)


@pytest.mark.parametrize("name", NETWORKS)
def test_two_small_runs_tell_what_a_larger_one_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    network = NETWORKS[name]
    path = network.export(tmp_path / "m.onnx")
    use = tried(path, network.shape)
    monkeypatch.setattr(trial, "BATCHES", (SAMPLES,))
    taken = tried(path, network.shape)
    assert use.caveat == taken.caveat == ""
    assert use.live.bytes(SAMPLES) == pytest.approx(taken.live.bytes(SAMPLES), rel=0.03)
    assert use.fed.bytes(SAMPLES) == taken.fed.bytes(SAMPLES)
    assert use.values.keys() == taken.values.keys()
    for value, line in taken.values.items():
        assert use.values[value].bytes(SAMPLES) == line.bytes(SAMPLES), value
    made = {value for one in read_model(path)[0].nodes for value in one.output if value}
    assert len(use.values.keys() & made) > 0.6 * len(made)


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_that_only_a_run_tells_are_planned_and_kept_to(
    tmp_path: Path, lsuv: Run, name: str
) -> None:
    network = NETWORKS[name]
    path = network.export(tmp_path / "m.onnx")
    data = save_samples(tmp_path, network.shape, SAMPLES)
    sizes = ",".join(map(str, network.shape))
    options = ("--samples", SAMPLES, "--input-shape", sizes)
    done = lsuv("inspect", path, "--plan", "--json", *options)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)["plan"]
    live = tried(path, network.shape).live.bytes(SAMPLES)
    assert 2 * live < plan["working_bytes"] < 3 * live + 8_000_000
    written = lsuv("init", path, "--data", data, "--out", "w", "-v", *options)
    assert written.returncode == 0, written.stderr
    said = next(line for line in written.stderr.splitlines() if line.startswith("plan: "))
    assert said in lsuv("inspect", path, "--plan", *options).stdout


def save_mixed_batch(path: Path, batch: int) -> Path:
    """A graph that takes one number of samples only, since it names that in a reshape."""
    nodes = [
        node("Reshape", "x to", "flat"),
        node("MatMul", "flat w", "y"),
    ]
    weights = {"to": np.array([batch, 32]), "w": random_weight(32, 8)}
    return save_graph(path, nodes, weights, [batch, 8, 2, 2])


def test_a_fixed_batch_is_tried_as_it_is(tmp_path: Path) -> None:
    use = tried(save_mixed_batch(tmp_path / "m.onnx", 5), (8, 2, 2))
    assert use.caveat == ""
    # The layer's output and its square, of five samples; the reshape is no copy.
    assert use.live.bytes(5) == pytest.approx(5 * 8 * 4 * 2, abs=100)


def save_chosen_by_samples(path: Path) -> Path:
    """A graph that reshapes to a size which it reads from the samples; zeros lead nowhere."""
    nodes = [
        node("MatMul", "x w", "a"),
        node("ReduceMax", "x", "most", keepdims=0),
        node("Cast", "most", "columns", to=TensorProto.INT64),
        node("Unsqueeze", "columns axis", "columns1"),
        node("Concat", "rows columns1", "to", axis=0),
        node("Reshape", "a to", "r", allowzero=1),
        node("MatMul", "r v", "y"),
    ]
    weights = {
        "axis": np.array([0]),
        "rows": np.array([-1]),
        "w": random_weight(4, 8),
        "v": random_weight(8, 3),
    }
    return save_graph(path, nodes, weights, ["n", 4])


def test_what_can_not_be_run_is_computed_and_said(tmp_path: Path, lsuv: Run) -> None:
    path = save_chosen_by_samples(tmp_path / "m.onnx")
    done = lsuv("inspect", path, "--plan", "--samples", "100")
    assert done.returncode == 0, done.stderr
    assert "trial run failed" in done.stdout
    assert "too low" in done.stdout
    np.save(
        tmp_path / "x.npy", np.minimum(random_weight(6, 4), 8) * 0 + 8 - random_weight(6, 4) ** 2
    )


def test_a_graph_that_onnx_understands_is_computed_in_full(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "a"), node("Tanh", "a", "t"), node("MatMul", "t v", "y")]
    weights = {"w": random_weight(4, 100), "v": random_weight(100, 3)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ["n", 4])
    model, _ = read_model(path)
    use = computed_use(model, GivenBatches([{"x": random_weight(1, 4)}]), "it was not tried")
    assert use.caveat == "it was not tried; computed from the shapes that ONNX infers"
    assert use.live.bytes(10) == 10 * 2 * 100 * 4
    assert use.fed.bytes(10) == 10 * 4 * 4


def test_paddings_twice_as_large_as_the_picture(tmp_path: Path, lsuv: Run) -> None:
    """Guesses at the shapes behind such paddings have overflowed, and ended in an abort."""
    nodes = [
        node("Shape", "x", "sizes", start=2),
        node("Cast", "sizes", "real", to=TensorProto.FLOAT),
        node("Mul", "real two", "doubled"),
        node("Cast", "doubled", "whole", to=TensorProto.INT64),
        node("Concat", "none whole none whole", "pads", axis=0),
        node("Pad", "x pads", "padded"),
        node("Conv", "padded w", "y"),
    ]
    weights = {
        "two": np.array([2], np.float32),
        "none": np.array([0, 0]),
        "w": random_weight(4, 1, 5, 5),
    }
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ["n", 1, "h", "w"], opset=18)
    shape = (1, 20, 30)
    use = tried(path, shape)
    # The convolution's output, 96 by 146, and its square.
    assert use.live.bytes(3) == pytest.approx(3 * 2 * 4 * 96 * 146 * 4, rel=0.05)
    done = lsuv("inspect", path, "--plan", "--samples", "3", "--input-shape", "1,20,30")
    assert done.returncode == 0, done.stderr
    assert "trial run failed" not in done.stdout


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_that_onnx_infers_are_never_a_traceback(tmp_path: Path, name: str) -> None:
    network = NETWORKS[name]
    path = network.export(tmp_path / "m.onnx")
    model, _ = read_model(path)
    samples = GivenBatches([{"x": random_weight(1, *network.shape)}])
    computed = computed_use(model, samples, "it was not tried")
    measured = tried(path, network.shape)
    for value in computed.values.keys() & measured.values.keys():
        assert computed.values[value].bytes(SAMPLES) == measured.values[value].bytes(SAMPLES), value
    assert computed.values.keys() & measured.values.keys()


def test_two_samples_are_not_tried_where_they_take_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [node("MatMul", "x w", "a"), node("Tanh", "a", "t"), node("MatMul", "t v", "y")]
    weights = {"w": random_weight(4, 100), "v": random_weight(100, 3)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ["n", 4])
    sizes: list[int] = []

    def watched(graph: Any, feeds: Any, threads: int) -> Any:
        sizes.append(len(feeds["x"]))
        return measure_run(graph, feeds, threads)

    monkeypatch.setattr(trial, "measure_run", watched)
    small, enough = tried(path, (4,), limit=1000), tried(path, (4,))
    assert sizes == [1, 1, 2]
    assert small.live.bytes(10) >= enough.live.bytes(10)


def test_segments_take_what_the_largest_of_them_takes(tmp_path: Path) -> None:
    network = NETWORKS["U-Net"]
    path = network.export(tmp_path / "m.onnx")
    whole = tried(path, network.shape)
    parts = tried(path, network.shape, max_segment_bytes=1)
    assert parts.caveat == ""
    assert parts.live.bytes(SAMPLES) <= whole.live.bytes(SAMPLES)
    assert parts.fed.bytes(SAMPLES) > whole.fed.bytes(SAMPLES)
    for value, line in whole.values.items():
        assert parts.values[value].bytes(SAMPLES) == line.bytes(SAMPLES), value


def test_the_profile_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    network = NETWORKS["sequence"]
    network.export(tmp_path / "m.onnx")
    tried(tmp_path / "m.onnx", network.shape)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_disk_without_room_for_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NETWORKS["sequence"]
    network.export(tmp_path / "m.onnx")
    end_profiling = Session.end_profiling

    def cut_short(session: Session) -> Path:
        path = end_profiling(session)
        os.truncate(path, 1000)
        return path

    monkeypatch.setattr(Session, "end_profiling", cut_short)
    use = tried(tmp_path / "m.onnx", network.shape)
    assert "no room for ONNX Runtime's profile" in use.caveat
    assert use.live.bytes(1) > 0
