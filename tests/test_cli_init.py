"""The installed command on sample models and real images."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from safetensors import safe_open
from safetensors.torch import load_file

from lsuv_cli import __version__
from lsuv_cli.core.layout import WeightLayout
from lsuv_cli.core.preinit import gram_deviation
from lsuv_cli.layers.find import find_layers
from lsuv_cli.reading.onnx_file import read_model
from support.command import COMMAND, Run
from support.graphs import random_weight, save_graph
from support.oracle import TorchNetwork
from support.paths import ROOT

SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text())

# Numbers in a weight.
LARGE = 3_000_000

IMAGENET = {
    "fitnet1": ("photos", "imagenet", 64),
    "fitnet4": ("photos", "imagenet", 64),
    "fitnet4_vlrelu": ("photos", "imagenet", 64),
    "fitnet4_tanh": ("photos", "imagenet", 64),
    "fitnet4_maxout": ("photos", "imagenet", 64),
    "fitnet_mnist": ("digits", "mnist", 64),
    "fitresnet4": ("photos", "imagenet", 64),
    "highway": ("digits", "mnist", 64),
    "caffenet": ("photos", "imagenet", 4),
    "googlenet": ("photos", "imagenet", 4),
}


def succeed(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The report that a successful `--json` run printed, checked against its schema."""
    assert process.returncode == 0, process.stderr
    return valid_report(process.stdout)


def valid_report(text: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    return report


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small model with a shared weight, an untouched parameter and a batch of samples."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], name="conv"),
        helper.make_node("Mul", ["c", "gain"], ["g"]),
        helper.make_node("Relu", ["g"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["h"], name="fc1"),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Gemm", ["t", "fc.weight"], ["u"], name="fc2"),
        helper.make_node("Gemm", ["u", "head.weight"], ["y"], name="head"),
    ]
    weights = {
        "conv.weight": random_weight(6, 3, 3, 3),
        "conv.bias": random_weight(6),
        "gain": np.abs(random_weight(1, 6, 1, 1)),
        "fc.weight": random_weight(6, 6),
        "fc.bias": random_weight(6),
        "head.weight": random_weight(6, 4),
        "unused": random_weight(3),
    }
    save_graph(tmp_path / "tiny.onnx", nodes, weights, ("n", 3, 8, 8))
    np.save(tmp_path / "x.npy", random_weight(16, 3, 8, 8, seed=3))
    return tmp_path


TINY = ("init", "tiny.onnx", "--data", "x.npy", "--out", "out.safetensors")


def originals(path: Path) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def deviation(layout: WeightLayout, weight: np.ndarray) -> float:
    """How far the weight's matrices are from orthonormal.

    Of a large W the product W W^T takes long; whether W (W^T v) is v, for a few random unit
    vectors v, tells the same.
    """
    if weight.size < LARGE:
        return gram_deviation(layout, weight)
    (matrix,) = layout.as_matrices(weight)
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    vectors = np.random.default_rng(0).normal(size=(len(wide), 8))
    vectors /= np.linalg.norm(vectors, axis=0)
    difference = wide @ (wide.T @ vectors) - vectors
    return float(np.linalg.norm(difference, axis=0).max())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.thorough if name == "caffenet" else ())
        for name in IMAGENET
    ],
)
def test_sample_models_on_real_images(
    lsuv: Run, sample_models: Callable[[str], Path], images: Path, tmp_path: Path, name: str
) -> None:
    kind, preset, count = IMAGENET[name]
    model = sample_models(name)
    process = lsuv(
        *("init", model, "--data", images / kind, "--out", "out", "--preset", preset),
        *("--samples", count, "--json", "--device", "cpu"),
    )
    report = succeed(process)
    assert report["samples"]["used"] == count
    assert report["model"]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert report["out"]["bytes"] == (tmp_path / "out").stat().st_size
    for layer in report["layers"]:
        assert layer["status"] == "converged", layer
        assert abs(layer["after"]["variance"] - 1) <= 1e-5, layer
        assert layer["deviation"] <= 1e-5
        assert layer["iterations"] == 1
    weights = load_file(tmp_path / "out")
    layer_nodes = find_layers(read_model(model)[0])
    assert [layer_node.layer.weight_value for layer_node in layer_nodes] == [
        row["weight"] for row in report["layers"]
    ]
    for layer_node, row in zip(layer_nodes, report["layers"], strict=True):
        drawn = weights[layer_node.layer.weight_value].numpy() / row["scale"]
        assert deviation(layer_node.layer.layout, drawn) <= 1e-5, layer_node.layer.name
        if layer_node.layer.bias_value:
            assert not weights[layer_node.layer.bias_value].any()
    for parameter, value in originals(model).items():
        assert weights[parameter].shape == value.shape
        assert weights[parameter].numpy().dtype == value.dtype


def test_the_written_weights_hold_in_torch(
    lsuv: Run, sample_models: Callable[[str], Path], images: Path, tmp_path: Path
) -> None:
    """The file, loaded into another framework, on pictures decoded by the test itself."""
    from PIL import Image

    model = sample_models("fitnet1")
    (tmp_path / "some").mkdir()
    batch = []
    for path in sorted((images / "photos").rglob("*.jpg"))[::9]:
        with Image.open(path) as picture:
            small = picture.resize((32, 32), Image.Resampling.BILINEAR)
        small.save(tmp_path / "some" / f"{path.stem}.png")
        batch.append(np.asarray(small, np.float32).transpose(2, 0, 1) / 255)
    mean, std = [0.4, 0.45, 0.5], [0.3, 0.2, 0.25]
    process = lsuv(
        *("init", model, "--data", "some", "--out", "out", "--quiet"),
        *("--mean", "0.4,0.45,0.5", "--std", "0.3,0.2,0.25"),
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    network = TorchNetwork(model)
    network.parameters |= {k: v.double() for k, v in load_file(tmp_path / "out").items()}
    shaped = [np.array(values)[:, None, None] for values in (mean, std)]
    feed = np.stack([(pixels - shaped[0]) / shaped[1] for pixels in batch])
    outputs = network.forward({network.inputs[0]: feed})
    layers = network.layers()
    assert len(layers) == len(find_layers(read_model(model)[0]))
    for layer in layers:
        assert outputs[network.output(layer)].var(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_every_parameter_is_written_and_the_others_untouched(lsuv: Run, tiny: Path) -> None:
    report = succeed(lsuv(*TINY, "--json", "--exclude", "head", cwd=tiny))
    written, old = load_file(tiny / "out.safetensors"), originals(tiny / "tiny.onnx")
    assert written.keys() == old.keys()
    for name in ("gain", "unused", "head.weight"):
        assert written[name].numpy().tobytes() == old[name].tobytes()
    for name in ("conv.weight", "fc.weight"):
        assert not np.array_equal(written[name].numpy(), old[name])
    rows = {row["name"]: row for row in report["layers"]}
    assert [rows[name]["status"] for name in ("conv", "fc1", "fc2", "head")] == [
        *("converged", "converged", "shared", "excluded")
    ]
    assert rows["fc2"]["detail"] == "scaled at fc1"
    assert rows["fc2"]["scale"] == rows["fc1"]["scale"]
    # An excluded layer is measured all the same, and its weight is no part of the scales.
    assert rows["head"]["after"]["variance"] > 0
    with safe_open(tiny / "out.safetensors", "np") as file:
        metadata = file.metadata()
    assert json.loads(metadata["lsuv.scales"]) == {
        row["weight"]: row["scale"] for row in (rows["conv"], rows["fc1"])
    }
    assert metadata["lsuv.version"] == __version__
    assert metadata["lsuv.model_sha256"] == report["model"]["sha256"]
    assert metadata["lsuv.seed"] == "0"
    assert json.loads(metadata["lsuv.options"]) == report["options"]


def test_runs_repeat_to_the_byte(lsuv: Run, tiny: Path) -> None:
    """Whatever the threads, the paths and Python's hash seed; another seed differs."""

    def run(*more: object, env: dict[str, str] | None = None) -> bytes:
        process = lsuv(*TINY, "--force", "--quiet", *more, cwd=tiny, env=env)
        assert process.returncode == 0, process.stderr
        return (tiny / "out.safetensors").read_bytes()

    first = run()
    assert run(env={"PYTHONHASHSEED": "1"}) == first
    assert run("--threads", "1") == first
    assert run("--no-verify") == first
    assert run("--seed", "1") != first
    (tiny / "elsewhere").mkdir()
    (tiny / "tiny.onnx").rename(tiny / "elsewhere" / "m.onnx")
    (tiny / "x.npy").rename(tiny / "elsewhere" / "samples.npy")
    process = lsuv(
        *("init", "elsewhere/m.onnx", "--data", "elsewhere", "--out", "other", "-q"), cwd=tiny
    )
    assert process.returncode == 0
    assert (tiny / "other").read_bytes() == first


def test_a_big_model_repeats_to_the_byte(
    lsuv: Run, sample_models: Callable[[str], Path], images: Path, tmp_path: Path
) -> None:
    digests = set()
    for out in ("a", "b"):
        arguments = ("--data", images / "photos", "--samples", 32, "--out", out, "--quiet")
        assert lsuv("init", sample_models("fitnet4"), *arguments).returncode == 0
        digests.add(hashlib.sha256((tmp_path / out).read_bytes()).hexdigest())
    assert len(digests) == 1


def test_options_reach_the_engine(lsuv: Run, tiny: Path) -> None:
    report = succeed(
        lsuv(
            *TINY,
            *("--json", "--samples", 8, "--seed", 5, "--target-std", 2, "--tol", 0.01),
            *("--max-iter", 3, "--pre-init", "he", "--bias", "center", "--per", "channel"),
            *("--include", "conv*", "--include", "fc*", "--exclude", "fc.weight"),
            *("--target", "c*=3", "--target", "conv=0.5", "--mean", 0.1, "--std", 2),
            *("--threads", 1, "--device", "cpu"),
            cwd=tiny,
        )
    )
    assert report["options"] == {
        "samples": 8,
        "batch_size": 8,
        "seed": 5,
        "target_std": 2,
        "tol": 0.01,
        "max_iter": 3,
        "pre_init": "he",
        "bias": "center",
        "per": "channel",
        "bn": "batch",
        "include": ["conv*", "fc*"],
        "exclude": ["fc.weight"],
        "targets": [["c*", 3], ["conv", 0.5]],
        "mean": [0.1],
        "std": [2],
        "resize": None,
        "crop": None,
        "input_shapes": {},
        "batch_axes": {},
        "feeds": {},
    }
    conv, *others = report["layers"]
    assert [row["status"] for row in others] == ["excluded"] * 3
    assert conv["target_std"] == 0.5
    assert conv["after"]["variance"] == pytest.approx(0.25, rel=1e-4)
    assert conv["after"]["mean"] == pytest.approx(0, abs=1e-6)
    assert len(conv["scale"]) == 6
    assert report["samples"]["inputs"][0]["shape"] == [8, 3, 8, 8]
    samples = np.load(tiny / "x.npy")
    means = ((samples - 0.1) / 2).mean((1, 2, 3), dtype=np.float64)
    low, high = np.sort(means)[:8].mean(), np.sort(means)[8:].mean()
    assert low < report["samples"]["inputs"][0]["mean"] < high


@pytest.mark.parametrize(
    "pre_init", ["orthonormal", "delta-orthogonal", "he", "xavier", "lecun", "gaussian", "keep"]
)
def test_every_pre_init_converges(lsuv: Run, tiny: Path, pre_init: str) -> None:
    arguments = ("--pre-init", pre_init, "--json", "--exclude", "fc2")
    report = succeed(lsuv(*TINY, *arguments, cwd=tiny))
    assert report["layers"][0]["deviation"] <= 1e-5
    if pre_init == "keep":
        old, new = originals(tiny / "tiny.onnx"), load_file(tiny / "out.safetensors")
        scale = report["layers"][0]["scale"]
        np.testing.assert_allclose(new["conv.weight"], old["conv.weight"] * scale, rtol=1e-6)


def test_pictures_and_their_options(
    lsuv: Run, sample_models: Callable[[str], Path], images: Path, tmp_path: Path
) -> None:
    common = ("init", sample_models("fitnet1"), "--data", images / "photos" / "china", "--json")
    small = ("--samples", 4, "--no-verify", "--force", "--out", "out")
    reports = {
        name: succeed(lsuv(*common, *small, *options))["samples"]["inputs"][0]
        for name, options in {
            "plain": (),
            "resized": ("--resize", 48),
            "squashed": ("--resize", "32x32"),
            "cropped": ("--crop", 32),
            "preset": ("--preset", "imagenet"),
        }.items()
    }
    assert {tuple(report["shape"]) for report in reports.values()} == {(4, 3, 32, 32)}
    # Square pictures: squashing and covering are the same, a cut from a larger one is not.
    assert reports["squashed"] == reports["plain"]
    assert reports["cropped"] == reports["plain"]
    assert reports["resized"]["mean"] != reports["plain"]["mean"]
    plain, preset = reports["plain"], reports["preset"]
    np.testing.assert_allclose(
        preset["channel_mean"],
        (np.array(plain["channel_mean"]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        atol=1e-4,
    )


def test_globs_and_repeated_data(
    lsuv: Run, sample_models: Callable[[str], Path], images: Path
) -> None:
    arguments = ("--no-verify", "--force", "--out", "out", "--json")
    report = succeed(
        lsuv(
            *("init", sample_models("fitnet1"), *arguments),
            *("--data", images / "photos" / "china" / "*_0[0-4].jpg"),
            *("--data", images / "photos" / "flower", "-d", images / "photos/coffee/coffee_00.jpg"),
        )
    )
    assert report["samples"]["available"] == 5 + 32 + 1


def test_several_inputs_and_open_sizes(lsuv: Run, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Concat", ["f", "age"], ["k"], axis=1),
        helper.make_node("MatMul", ["k", "v"], ["y"]),
    ]
    weights = {"w": random_weight(4, 3, 3, 3), "v": random_weight(6, 5)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 3, "h", "w"), name="image")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("age", 1, ["n", 2]))
    onnx.save(model, path)
    np.savez(tmp_path / "s.npz", image=random_weight(12, 3, 10, 14), age=random_weight(12, 2) * 0.1)
    arguments = ("init", "m.onnx", "--data", "s.npz", "--out", "out", "--json", "--samples", 5)
    report = succeed(lsuv(*arguments))
    assert {row["name"]: row["shape"] for row in report["samples"]["inputs"]} == {
        "image": [5, 3, 10, 14],
        "age": [5, 2],
    }
    assert max(row["deviation"] for row in report["layers"]) <= 1e-5
    refused = lsuv(*arguments, "--force", "--input-shape", "image:3,11,14")
    assert refused.returncode == 3
    assert "s.npz" in refused.stderr


def test_open_sizes_are_given_for_pictures(lsuv: Run, images: Path, tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    save_graph(tmp_path / "m.onnx", nodes, {"w": random_weight(4, 3, 3, 3)}, ("n", "c", "h", "w"))
    data = ("init", "m.onnx", "--data", images / "photos/china", "--json", "--force", "--out", "o")
    for option in (("--input-shape", "x:3,20,24"), ("--input-shape", "3,20,24")):
        report = succeed(lsuv(*data, *option))
        assert report["samples"]["inputs"][0]["shape"] == [32, 3, 20, 24]
        assert report["converged"]


def test_a_layer_out_of_tolerance(lsuv: Run, tiny: Path) -> None:
    """A tolerance beyond float32: written all the same without ten sweeps, said so, exit code 4."""
    process = lsuv(*TINY, "--tol", 1e-12, "--json", cwd=tiny)
    assert process.returncode == 4, process.stderr
    report = valid_report(process.stdout)
    assert not report["converged"]
    failed = [row for row in report["layers"] if row["status"] == "noisy"]
    assert failed
    assert all("rounding alone moves its variance" in row["detail"] for row in failed)
    assert max(row["iterations"] for row in report["layers"]) < 10
    assert max(row["deviation"] for row in failed) < 1e-5
    assert load_file(tiny / "out.safetensors").keys() == originals(tiny / "tiny.onnx").keys()


def test_a_bias_too_large_to_keep(lsuv: Run, tiny: Path) -> None:
    process = lsuv(*TINY, "--bias", "keep", "--target-std", 0.1, "--json", cwd=tiny)
    assert process.returncode == 4
    rows = valid_report(process.stdout)["layers"]
    assert rows[0]["status"] == "unreachable"
    np.testing.assert_array_equal(
        load_file(tiny / "out.safetensors")["conv.bias"], originals(tiny / "tiny.onnx")["conv.bias"]
    )


@pytest.mark.parametrize("option", [("--per", "channel"), ("--bias", "center")])
def test_doubtful_variances_are_measured_again(
    lsuv: Run, tmp_path: Path, option: tuple[str, str]
) -> None:
    """Samples that hardly vary around a large mean: one pass in float32 would see nothing.

    Nor would one see it of all channels together, whose means differ.
    """
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], name="c"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["y"], name="d"),
    ]
    weights = {
        "w1": random_weight(4, 3, 3, 3),
        "b1": random_weight(4),
        "w2": random_weight(4, 4, 3, 3),
    }
    save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 3, 9, 9))
    np.save(tmp_path / "x.npy", 1000 + random_weight(32, 3, 9, 9))
    options = (*option, "--json", "--quiet")
    process = lsuv("init", "m.onnx", "--data", "x.npy", "--out", "out", *options)
    report = valid_report(process.stdout)
    network = TorchNetwork(tmp_path / "m.onnx")
    network.parameters |= {k: v.double() for k, v in load_file(tmp_path / "out").items()}
    output = network.forward({"x": np.load(tmp_path / "x.npy")})["c"]
    by_channel = output.transpose(0, 1).reshape(4, -1).var(1, correction=0)
    varies = by_channel if "channel" in option else by_channel.mean()
    # float32 itself, at 1000, is good to 6e-5 of the deviation.
    np.testing.assert_allclose(varies, 1, atol=1e-4)
    assert report["layers"][0]["status"] == "converged"


# The screen


def test_stdout_carries_data_only(lsuv: Run, tiny: Path) -> None:
    process = lsuv(*TINY, cwd=tiny)
    assert process.returncode == 0
    assert process.stdout == ""
    for word in ("conv", "fc1", "converged", "shared", "scale", "var after"):
        assert word in process.stderr
    assert "using all 16 samples (128 were asked for)" in process.stderr
    assert "input x: 16x3x8x8 float32" in process.stderr
    assert "\x1b" not in process.stderr
    as_json = lsuv(*TINY, "--force", "--json", "--quiet", cwd=tiny)
    assert as_json.stderr == ""
    valid_report(as_json.stdout)
    verbose = lsuv(*TINY, "--force", "--verbose", cwd=tiny)
    for stage in ("reading the model", "pre-initialising", "sweeping", "writing", "verifying"):
        assert f"\n{stage}" in f"\n{verbose.stderr}"


def test_no_verify_says_so(lsuv: Run, tiny: Path) -> None:
    process = lsuv(*TINY, "--no-verify", "--json", cwd=tiny)
    rows = succeed(process)["layers"]
    assert {(row["before"], row["after"], row["deviation"]) for row in rows} == {(None, None, None)}
    assert "not verified" in process.stderr


def test_the_input_far_from_unit_variance(lsuv: Run, tiny: Path) -> None:
    np.save(tiny / "x.npy", 3 + 10 * random_weight(16, 3, 8, 8, seed=3))
    process = lsuv(*TINY, cwd=tiny)
    (warning,) = [line for line in process.stderr.splitlines() if line.startswith("warning:")]
    assert "far from mean 0 and std 1" in warning
    assert "--mean 2.8" in warning
    assert "--std 10.0" in warning


def terminal(arguments: list[str], cwd: Path, **env: str) -> tuple[int, str]:
    """Run on a pseudo-terminal; the exit code and everything it showed."""
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env}
    process = subprocess.Popen(
        [COMMAND, *arguments], cwd=cwd, env=environment, stdout=child, stderr=child, stdin=child
    )
    os.close(child)
    shown = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(parent)
    return process.wait(), shown.decode()


def test_a_terminal_gets_colour_and_progress(tiny: Path) -> None:
    code, shown = terminal(list(TINY), tiny)
    assert code == 0
    assert "\x1b[32m" in shown  # green
    assert "sweeping" in shown
    code, plain = terminal([*TINY, "--force"], tiny, NO_COLOR="1")
    assert code == 0
    assert "\x1b[32m" not in plain
    code, dumb = terminal([*TINY, "--force"], tiny, TERM="dumb")
    assert code == 0
    assert "\x1b" not in dumb


# Starting up


def test_version_and_module(lsuv: Run, tmp_path: Path) -> None:
    assert lsuv("--version").stdout == f"lsuv {__version__}\n"
    process = subprocess.run(
        [sys.executable, "-m", "lsuv_cli", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == f"lsuv {__version__}\n"


def imported(arguments: list[str], cwd: Path) -> set[str]:
    """The top-level modules that the command imports."""
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lsuv_cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in process.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def test_heavy_imports_are_late(tiny: Path) -> None:
    heavy = {"numpy", "onnx", "onnxruntime", "torch", "PIL", "rich", "safetensors"}
    assert not imported(["--version"], tiny) & heavy
    assert imported([*TINY, "--quiet"], tiny) & heavy == heavy - {"torch"}


def test_onnx_runtime_keeps_nothing_of_the_user(tiny: Path, tmp_path: Path) -> None:
    # What else is in the environment may tell ONNX Runtime to be quiet, as CI does.
    kept = {name: text for name, text in os.environ.items() if name in {"PATH", "PYTHONPATH"}}
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [COMMAND, *TINY, "--quiet"], cwd=tiny, env={**kept, "HOME": str(home)}, check=True
    )
    assert not list(home.iterdir())


def test_help_names_every_option_with_its_default(lsuv: Run) -> None:
    shown = lsuv("init", "--help", env={"COLUMNS": "120", "NO_COLOR": "1"}).stdout
    for option in (
        *("--data", "--out", "--samples", "--seed", "--target-std", "--tol", "--max-iter"),
        *("--pre-init", "--bias", "--per", "--include", "--exclude", "--target", "--mean"),
        *("--std", "--preset", "--resize", "--crop", "--input-shape", "--device", "--provider"),
        *("--threads", "--json", "--quiet", "--verbose", "--force", "--no-verify", "--strict"),
    ):
        assert option in shown
    for panel in ("Data", "Algorithm", "Layers", "Output", "Machine"):
        assert f"─ {panel} ─" in shown
    for default in ("128", "0.001", "10", "orthonormal", "zero", "layer", "auto", "verify"):
        assert f"[default: {default}]" in shown
    assert "Exit codes" in shown


def test_a_module_s_name_matches_its_layers(lsuv: Run, tiny: Path) -> None:
    process = lsuv(*TINY, "--exclude", "fc", "--json")
    statuses = {row["name"]: row["status"] for row in json.loads(process.stdout)["layers"]}
    assert statuses == {
        "conv": "converged",
        "fc1": "excluded",
        "fc2": "excluded",
        "head": "converged",
    }
    process = lsuv(*TINY, "--force", "--exclude", "Fc")
    assert process.returncode == 2
    assert (
        "--exclude Fc matches no layer or weight; the layers and weights are conv (conv.weig"
        in (process.stderr)
    )
    process = lsuv(*TINY, "--force", "--exclude", "f")
    assert "--exclude f matches no layer or weight (but 'f*' matches 2); the" in process.stderr


def test_the_summary_speaks_of_the_worst_layer(lsuv: Run, tiny: Path) -> None:
    process = lsuv(*TINY, "--tol", "1e-12", "--max-iter", "1", "--json")
    assert process.returncode == 4
    layers = json.loads(process.stdout)["layers"]
    scaled = [one for one in layers if one["status"] != "shared"]
    worst = max(abs(one["after"]["variance"] - 1) for one in scaled)
    assert f"largest |Var-1| {worst:.1e}" in process.stderr
    assert "not verified" not in process.stderr
    process = lsuv(*TINY, "--force", "--target-std", "2", "--per", "channel")
    assert "largest |Var/target-1| of a channel" in process.stderr


def test_outputs_that_would_mislead_or_destroy(lsuv: Run, tiny: Path) -> None:
    (tiny / "like.safetensors").write_bytes((tiny / "x.npy").read_bytes())
    start = ("init", "tiny.onnx", "--data", "x.npy", "--force")
    before = {path.name: path.read_bytes() for path in tiny.iterdir()}
    for arguments, code, words in (
        (("--out", "w.onnx"), 2, "what is written is safetensors, and .onnx stands for ONNX"),
        (("--out", "w", "--out-model", "w.pt"), 2, "and .pt stands for PyTorch's"),
        (("--out", "w", "--resume", "w"), 2, "--resume and an output are both w"),
        (("--out", "w", "--out-model", "c", "--resume", "c"), 2, "an output are both c"),
        (("--out", "like.safetensors", "--like", "like.safetensors"), 5, "the file of --like"),
    ):
        process = lsuv(*start, *arguments)
        assert process.returncode == code, process.stderr
        assert words in process.stderr
        assert {path.name: path.read_bytes() for path in tiny.iterdir()} == before
