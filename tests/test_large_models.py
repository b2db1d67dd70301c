"""Models in several segments, weights in several files, and memory that stays bounded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data
from safetensors import safe_open
from safetensors.numpy import load_file

from lsuv_cli.core.choices import Bias, Per, Status
from lsuv_cli.core.errors import OutputError
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.parameters import Parameters, ParameterSource
from lsuv_cli.graph.views import Sliced, View
from lsuv_cli.instrument import segments
from lsuv_cli.reading.onnx_file import read_model
from lsuv_cli.weights.shards import open_sharded_writer, plan_shards
from support.command import Run
from support.graphs import node, random_weight, save_graph
from support.initialization import run
from support.paths import SAMPLE_MODELS
from support.sample_files import save_batch, save_samples
from support.torch_export import export
from support.torch_models import built, example

Array = NDArray[Any]
MIB = 2**20


@pytest.mark.parametrize("per", Per)
@pytest.mark.parametrize("bias", Bias)
def test_segments_give_what_one_graph_gives(
    sample_models: Callable[[str], Path], tmp_path: Path, bias: Bias, per: Per
) -> None:
    samples = save_samples(tmp_path, (3, 32, 32))
    model = sample_models("fitresnet4")
    options: dict[str, Any] = {"bias": bias, "per": per}
    whole, expected = run(model, samples, **options)
    parts, written = run(model, samples, max_segment_bytes=200_000, **options)
    assert expected.keys() == written.keys()
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(
            written[name], value, atol=(1e-4 if per is Per.CHANNEL else 1e-5) * max(scale, 1e-3)
        )
    for one, other in zip(whole.layers, parts.layers, strict=True):
        assert other.status is Status.CONVERGED, other.detail
        np.testing.assert_allclose(
            other.scale, one.scale, rtol=1e-4 if per is Per.CHANNEL else 1e-6
        )


@pytest.mark.parametrize("name", ["GPT", "encoder", "repeated", "dense", "two inputs"])
def test_ties_and_views_across_segments(tmp_path: Path, name: str) -> None:
    inputs = example(name)
    export(built(name), inputs, tmp_path / "m.onnx", "script, unfolded")
    batch = save_batch(tmp_path, inputs)
    whole, expected = run(tmp_path / "m.onnx", batch, count=16, tol=1e-4)
    # Every layer a segment of its own.
    parts, written = run(tmp_path / "m.onnx", batch, count=16, tol=1e-4, max_segment_bytes=1)
    for key, value in expected.items():
        np.testing.assert_allclose(written[key], value, atol=2e-5 * np.abs(value).max())
    assert [r.status for r in whole.layers] == [r.status for r in parts.layers]
    for result in parts.layers:
        assert result.after is not None
        if result.status is Status.CONVERGED:
            assert result.after.blob_variance == pytest.approx(1, abs=1e-4)


def test_a_deep_model_is_cut_into_segments_of_so_many_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {f"w{i}": random_weight(8, 8, seed=i) for i in range(20)}
    nodes = []
    for i in range(20):
        nodes += [node("MatMul", f"r{i} w{i}", f"m{i}"), node("Relu", f"m{i}", f"r{i + 1}")]
    nodes[0] = node("MatMul", "x w0", "m0")
    model = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    samples = save_samples(tmp_path, (8,))
    _, expected = run(model, samples)
    monkeypatch.setattr(segments, "MAX_SEGMENT_STEPS", 7)
    report, written = run(model, samples)
    assert [layer.status for layer in report.layers] == [Status.CONVERGED] * 20
    for name, value in expected.items():
        np.testing.assert_allclose(written[name], value, rtol=1e-5, atol=1e-6)
    model_read, _ = read_model(model)
    assert len(segments.cut_for_values(model_read, ["r20"], 1 << 30)) == 6


def test_running_statistics_across_segments(tmp_path: Path) -> None:
    inputs = example("depthwise with BatchNorm")
    model = built("depthwise with BatchNorm")
    export(model, inputs, tmp_path / "m.onnx", "script, unfolded")
    batch = save_batch(tmp_path, inputs)
    _, expected = run(tmp_path / "m.onnx", batch, count=16)
    _, written = run(tmp_path / "m.onnx", batch, count=16, max_segment_bytes=1)
    for key, value in expected.items():
        np.testing.assert_allclose(written[key], value, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 80 MB with external data, and samples beside it."""
    folder = tmp_path_factory.mktemp("large")
    script = [sys.executable, str(SAMPLE_MODELS / "large.py"), "--out", str(folder)]
    subprocess.run([*script, "--gigabytes", "0.08", "--width", "512"], check=True)
    return folder


PEAK = """
import sys
from pathlib import Path
from lsuv_cli.core.choices import PreInit, Status
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import InitOptions, SampleOptions
from lsuv_cli.jobs.init import initialize_weights
folder = Path(sys.argv[1])
report = initialize_weights(InitOptions(
    model=folder / "large.onnx", out=folder / "init.safetensors", force=True, device="cpu",
    samples=SampleOptions(data=(str(folder / "samples.npy"),), count=16),
    pre_init=PreInit.HE, verify=False, max_segment_bytes=int(sys.argv[2])), Silent())
assert {result.status for result in report.layers} == {Status.CONVERGED}
"""
# A process starts with the peak of the one that started it; so a small one in between.
LAUNCHER = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""


def test_peak_memory_follows_the_segments_and_not_the_model(large: Path) -> None:
    def peak(segment: int) -> int:
        command = [sys.executable, "-c", LAUNCHER, PEAK, str(large), str(segment)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    model = (large / "large.bin").stat().st_size
    whole, parts = peak(10**9), peak(16 * MIB)
    assert whole - parts > model


def test_shards_and_their_index(tmp_path: Path, lsuv: Run, large: Path) -> None:
    data = ("--data", large / "samples.npy", "--samples", 16)
    command = ("init", large / "large.onnx", *data, "--no-verify", "--pre-init", "he")
    one = lsuv(*command, "--out", "one.safetensors")
    assert one.returncode == 0, one.stderr
    done = lsuv(*command, "--out", "m.safetensors", "--max-shard-size", "25MB", "--json")
    assert done.returncode == 0, done.stderr
    index = json.loads((tmp_path / "m.safetensors.index.json").read_text())
    shards = sorted(tmp_path.glob("m-*.safetensors"))
    assert [s.name for s in shards] == [f"m-0000{i}-of-00004.safetensors" for i in range(1, 5)]
    assert all(shard.stat().st_size < 25_100_000 for shard in shards)
    report = json.loads(done.stdout)
    assert report["out"]["files"] == [*(s.name for s in shards), "m.safetensors.index.json"]
    assert "wrote m.safetensors.index.json and 4 shards" in done.stderr
    expected = load_file(tmp_path / "one.safetensors")
    found: dict[str, Array] = {}
    scales: dict[str, float] = {}
    for shard in shards:
        with safe_open(shard, "numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                assert index["weight_map"][name] == shard.name
                found[name] = file.get_tensor(name)
            assert file.metadata()["format"] == "pt"
            scales |= json.loads(file.metadata()["lsuv.scales"])
    assert found.keys() == expected.keys() == index["weight_map"].keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in expected.values())
    with safe_open(tmp_path / "one.safetensors", "numpy") as file:
        assert scales == json.loads(file.metadata()["lsuv.scales"])
    again = lsuv(*command, "--out", "m.safetensors", "--max-shard-size", "25MB")
    assert again.returncode == 5
    assert "m-00001-of-00004.safetensors exists already" in again.stderr
    whole = lsuv(*command, "--out", "m.safetensors")
    assert whole.returncode == 5
    assert "m.safetensors.index.json exists already" in whole.stderr
    (tmp_path / "m.safetensors").write_bytes(b"of an earlier run")
    again = lsuv(*command, "--out", "m.safetensors", "--max-shard-size", "25MB", "--force")
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "m.safetensors").exists()
    fewer = lsuv(*command, "--out", "m.safetensors", "--max-shard-size", "50MB", "--force")
    assert fewer.returncode == 0, fewer.stderr
    assert len(list(tmp_path.glob("m-*"))) == 2
    (tmp_path / "m-notes.safetensors").touch()
    whole = lsuv(*command, "--out", "m.safetensors", "--force")
    assert whole.returncode == 0, whole.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"one.safetensors", "m.safetensors", "m-notes.safetensors"}


def test_what_fits_one_shard_is_one_file(tmp_path: Path, lsuv: Run) -> None:
    inputs = example("dense")
    export(built("dense"), inputs, tmp_path / "m.onnx", "script")
    save_batch(tmp_path, inputs)
    command = ("init", "m.onnx", "--data", "batch.npz", "--out", "o.safetensors")
    done = lsuv(*command, "--max-shard-size", "5GB")
    assert done.returncode == 0, done.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"m.onnx", "batch.npz", "o.safetensors"}
    for junk in ("5 apples", ""):
        assert lsuv(*command, "--max-shard-size", junk, "--force").returncode == 2


def test_shards_are_no_samples(tmp_path: Path, lsuv: Run) -> None:
    inputs = example("dense")
    export(built("dense"), inputs, tmp_path / "m.onnx", "script")
    (tmp_path / "data").mkdir()
    save_batch(tmp_path / "data", inputs)
    command = ("init", "m.onnx", "--data", "data", "--out", "data/o.safetensors", "--force")
    for _ in range(2):
        done = lsuv(*command, "--max-shard-size", "1KB")
        assert done.returncode == 0, done.stderr
        assert re.search("using all 16 samples", done.stderr)
    assert len(list((tmp_path / "data").glob("o-*-of-*"))) > 1


def test_shards_do_not_take_the_place_of_the_external_data(tmp_path: Path, lsuv: Run) -> None:
    inputs = example("dense")
    export(built("dense"), inputs, tmp_path / "m.onnx", "script")
    data = tmp_path / "weights.safetensors"
    onnx.save(
        onnx.load(tmp_path / "m.onnx"),
        tmp_path / "m.onnx",
        save_as_external_data=True,
        location=data.name,
        size_threshold=0,
    )
    content = data.read_bytes()
    save_batch(tmp_path, inputs)
    command = ("init", "m.onnx", "--data", "batch.npz", "--out", data.name, "--force")
    done = lsuv(*command, "--max-shard-size", "1KB")
    assert done.returncode == 5
    assert "is the model's external data itself" in done.stderr
    assert data.read_bytes() == content


def test_a_shard_that_another_process_makes_meanwhile(tmp_path: Path) -> None:
    tensors = {name: TensorInfo((4,), np.dtype(np.float32)) for name in "abc"}
    layout = plan_shards(tmp_path / "m.safetensors", tensors, 16)

    def lose_the_race() -> None:
        with open_sharded_writer(layout, tensors, lambda _: {}, force=False) as writer:
            for name in tensors:
                writer.put(name, np.ones(4, np.float32))
            (tmp_path / "m-00002-of-00003.safetensors").write_text("theirs")

    with pytest.raises(OutputError, match=r"m-00002-of-00003\.safetensors exists already"):
        lose_the_race()
    assert [path.name for path in tmp_path.iterdir()] == ["m-00002-of-00003.safetensors"]


def test_a_sequence_is_not_handed_from_segment_to_segment(tmp_path: Path) -> None:
    four = numpy_helper.from_array(np.array(4))
    first = numpy_helper.from_array(np.array(0))
    nodes = [
        node("MatMul", "x a", "h"),
        helper.make_node("Constant", [], ["four"], value=four),
        node("SplitToSequence", "h four", "parts", axis=1),
        node("MatMul", "x b", "k"),
        helper.make_node("Constant", [], ["first"], value=first),
        node("SequenceAt", "parts first", "e"),
        node("MatMul", "e d", "y"),
        node("Concat", "y k", "z", axis=1),
    ]
    weights = {"a": random_weight(8, 8), "b": random_weight(8, 8), "d": random_weight(4, 4)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    samples = save_samples(tmp_path, (8,))
    for most in (1, 10**9):
        report, _ = run(path, samples, max_segment_bytes=most)
        assert [r.status for r in report.layers] == [Status.CONVERGED] * 3


def test_only_the_part_of_a_parameter_is_kept_in_memory(tmp_path: Path) -> None:
    """A view does not keep the whole of what was read for it."""
    value = random_weight(4, 6)
    views = {"part": View("w", (Sliced(((0, 1, None),)),))}
    infos = TensorInfo((4, 6), np.dtype(np.float32))
    source = ParameterSource(infos, value.copy)
    weights = Parameters({"w": source}, views, {"w": np.dtype(np.float32)})
    assert weights["part"].base is None
    np.testing.assert_array_equal(weights["part"], value[:1])


def test_brackets_in_a_parameters_own_name(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x layers[0].w", "h"), node("MatMul", "h b", "z")]
    weights = {"layers[0].w": random_weight(8, 8), "b": random_weight(8, 8)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    run(path, save_samples(tmp_path, (8,)))
    with safe_open(path.with_suffix(".safetensors"), "numpy") as file:
        assert json.loads(file.metadata()["lsuv.scales"]).keys() == weights.keys()


@pytest.mark.parametrize(("key", "value"), [("offset", "-4"), ("offset", "abc"), ("length", "7")])
def test_broken_entries_of_external_data(tmp_path: Path, lsuv: Run, key: str, value: str) -> None:
    inputs = example("dense")
    export(built("dense"), inputs, tmp_path / "m.onnx", "script")
    save_batch(tmp_path, inputs)
    model = onnx.load(tmp_path / "m.onnx")
    convert_model_to_external_data(model, location="m.bin", size_threshold=0)
    onnx.save(model, tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    onnx.save(model, tmp_path / "m.onnx")
    done = lsuv("init", "m.onnx", "--data", "batch.npz", "--out", "out")
    assert done.returncode == 3
    assert "external data of an impossible offset or length" in done.stderr
    assert "Traceback" not in done.stderr


def test_shards_of_too_long_a_name(tmp_path: Path, lsuv: Run) -> None:
    inputs = example("dense")
    export(built("dense"), inputs, tmp_path / "m.onnx", "script")
    save_batch(tmp_path, inputs)
    out = "a" * 243 + ".safetensors"
    command = ("init", "m.onnx", "--data", "batch.npz", "--out", out)
    done = lsuv(*command, "--max-shard-size", "1KB")
    assert done.returncode == 5
    assert "File name too long" in done.stderr
    assert "Traceback" not in done.stderr
    assert lsuv(*command).returncode == 0
    assert (tmp_path / out).is_file()
