"""`lsuv verify` of a file of `lsuv init`: the options it was made with are the defaults."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from lsuv_cli import verify
from lsuv_cli.core.choices import BatchNorm, Per
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import InitOptions, SampleOptions, Size, VerifyOptions
from lsuv_cli.core.verification import Verification
from lsuv_cli.jobs.init import initialize_weights
from lsuv_cli.jobs.verify import verify_weights
from support.graphs import random_weight, save_graph
from support.onnx_variances import layer_variances

Run = Callable[..., subprocess.CompletedProcess[str]]

# What each option of `init` is on the command line, and as fields of the options.
WORK: dict[str, dict[str, Any]] = {
    "--per channel": {"per": Per.CHANNEL},
    "--bn running": {"bn": BatchNorm.RUNNING},
    "--target-std 2": {"target_std": 2.0},
    "--target 'conv*=0.5'": {"targets": (("conv*", 0.5),)},
    "--exclude conv2": {"exclude": ("conv2",)},
    "--include conv1 --include '*fc'": {"include": ("conv1", "*fc")},
}
SAMPLES: dict[str, dict[str, Any]] = {
    "--mean 0.5,0.4,0.3 --std 0.1": {"mean": (0.5, 0.4, 0.3), "std": (0.1,)},
    "--mean 0.25": {"mean": (0.25,)},
    "--resize 14 --crop 8x10": {"resize": Size(None, 14), "crop": Size(8, 10)},
}


class Notes(Silent):
    """Keeps notes and warnings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def warn(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional net with BatchNormalization, and pictures."""
    folder = tmp_path_factory.mktemp("net")
    shapes = {"w1": (5, 3, 3, 3), "w2": (4, 5, 3, 3), "w3": (3, 4)}
    weights = {name: random_weight(*shape, seed=1) for name, shape in shapes.items()}
    names = ("scale", "shift", "mean", "variance")
    weights |= {name: np.abs(random_weight(5, seed=i)) for i, name in enumerate(names)}
    made: list[tuple[str, str, str, str, dict[str, Any]]] = [
        ("Conv", "x w1", "a", "conv1", {}),
        ("BatchNormalization", "a scale shift mean variance", "n", "bn", {}),
        ("Relu", "n", "r", "relu", {}),
        ("Conv", "r w2", "b", "conv2", {}),
        ("ReduceMean", "b", "p", "pool", {"axes": [2, 3], "keepdims": 0}),
        ("Gemm", "p w3", "y", "the_fc", {"transB": 1}),
    ]
    nodes = [
        helper.make_node(op, inputs.split(), [output], name=name, **attributes)
        for op, inputs, output, name, attributes in made
    ]
    save_graph(folder / "m.onnx", nodes, weights, ("n", 3, "h", "w"))
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (14, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def options(folder: Path, **sampling: Any) -> dict[str, Any]:
    sampling.setdefault("input_shapes", {"x": (3, 8, 10)})
    return {
        "model": folder / "m.onnx",
        "samples": SampleOptions((str(folder / "*.png"),), **sampling),
        "device": "cpu",
    }


def make(folder: Path, **given: Any) -> Path:
    """Initialise the net; options of samples are told from the others by their names."""
    sampling = {
        name: given.pop(name) for name in ("mean", "std", "resize", "crop") if name in given
    }
    out = folder / "w.safetensors"
    initialize_weights(
        InitOptions(out=out, force=True, verify=False, **options(folder, **sampling), **given),
        Silent(),
    )
    return out


def measured(folder: Path, out: Path, **given: Any) -> tuple[Verification, list[str]]:
    notes = Notes()
    return verify_weights(
        VerifyOptions(weights=out, **options(folder), **given), notes
    ), notes.texts


@pytest.mark.parametrize(("words", "given"), [*WORK.items(), *SAMPLES.items()])
def test_a_plain_verify_measures_as_init_did(
    folder: Path, words: str, given: dict[str, Any]
) -> None:
    out = make(folder, **given)
    found, texts = measured(folder, out)
    assert not found.failures
    assert [text for text in texts if text.startswith("as ")] == [
        f"as {out} was made: {words} (an option that you give wins)"
    ]


def test_the_variance_is_that_of_samples_normalised_as_noted(folder: Path) -> None:
    """ONNX Runtime runs the original file on samples that are normalised here."""
    out = make(folder, mean=(0.5, 0.4, 0.3), std=(0.1,))
    x = np.random.default_rng(0).random((10, 3, 8, 10), dtype=np.float32)
    np.save(folder / "other.npy", x)
    given = options(folder) | {"samples": SampleOptions((str(folder / "other.npy"),))}
    found = verify_weights(VerifyOptions(weights=out, **given), Silent())
    normalised = (x - np.array([0.5, 0.4, 0.3], np.float32).reshape(3, 1, 1)) / np.float32(0.1)
    expected = layer_variances(
        onnx.load(folder / "m.onnx"), load_file(out), [{"x": normalised}], ["a"]
    )
    moments = found.layers[0].moments
    assert moments is not None
    assert moments.blob_variance == pytest.approx(expected["a"], rel=1e-4)


def test_given_options_win(folder: Path) -> None:
    out = make(folder, per=Per.CHANNEL, target_std=2.0, mean=(0.5,), std=(0.1,))
    found, texts = measured(folder, out, given=frozenset(("per", "std")))
    assert found.per is Per.LAYER
    # Mean and std are given together: who gives one has the default of the other.
    assert texts[0] == f"as {out} was made: --target-std 2 (an option that you give wins)"
    found, texts = measured(folder, out, given=frozenset(("per", "preset", "target_std")))
    assert not any(text.startswith("as ") for text in texts)


def test_a_pattern_may_match_nothing_in_another_file_of_the_model(
    folder: Path, tmp_path: Path
) -> None:
    out = make(folder, exclude=("conv2",))
    tensors = load_file(out)
    noted = noted_options(out)
    noted["exclude"] = ["features.3"]
    changed = tmp_path / "w.safetensors"
    save_file(tensors, changed, {"lsuv.options": json.dumps(noted)})
    found, texts = measured(folder, changed)
    assert [one.planned.layer.name for one in found.failures] == ["conv2"]
    assert any("made with --exclude features.3, which matches no layer" in one for one in texts)


@pytest.mark.parametrize(
    "text", ["[", "[]", '{"per": "row"}', '{"targets": [["a"]]}', '{"std": [0]}', '{"crop": "x"}']
)
def test_damaged_options_are_passed_over(folder: Path, tmp_path: Path, text: str) -> None:
    changed = tmp_path / "w.safetensors"
    save_file(load_file(make(folder)), changed, {"lsuv.options": text})
    found, texts = measured(folder, changed)
    assert not found.failures
    assert any("can't be read (" in one for one in texts)


def test_samples_in_memory_are_used_as_they_are(folder: Path) -> None:
    out = make(folder, per=Per.CHANNEL, mean=(0.5,))
    array = np.random.default_rng(0).standard_normal((4, 3, 8, 10), dtype=np.float32)
    found = verify(folder / "m.onnx", array, out)
    assert found.report.settings["mean"] == []
    assert found.report.per is Per.CHANNEL
    assert verify(folder / "m.onnx", array, out, per="layer").report.per is Per.LAYER


def test_on_the_command_line(folder: Path, lsuv: Run) -> None:
    """Options on the command line and in a file of options win alike."""
    common = ("-d", "x.npy", "--json")
    rng = np.random.default_rng(0)
    np.save(folder / "x.npy", rng.normal(size=(20, 3, 8, 10)).astype(np.float32))
    make = (
        "init",
        "m.onnx",
        *common,
        "--per",
        "channel",
        "--exclude",
        "conv2",
        "-o",
        "c.safetensors",
    )
    assert lsuv(*make, cwd=folder).returncode == 0
    done = lsuv("verify", "m.onnx", "c.safetensors", *common, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "as c.safetensors was made: --per channel --exclude conv2 (an" in done.stderr
    found = json.loads(done.stdout)
    assert found["options"]["per"] == "channel"
    given = lsuv("verify", "m.onnx", "c.safetensors", *common, "--per=layer", cwd=folder)
    (folder / "lsuv.toml").write_text('[verify]\nper = "layer"\n')
    configured = lsuv("verify", "m.onnx", "c.safetensors", *common, cwd=folder)
    for done in (given, configured):
        assert done.returncode == 4, done.stderr
        assert "as c.safetensors was made: --exclude conv2 (an" in done.stderr


def noted_options(path: Path) -> dict[str, Any]:
    with safe_open(path, "numpy") as file:
        noted: dict[str, Any] = json.loads(file.metadata()["lsuv.options"])
    return noted
