"""Every option of every command, used once as a user would, with what it must have done."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer.main
from onnx import helper, numpy_helper
from PIL import Image
from safetensors.numpy import load_file, save_file

from lsuv_cli import __version__
from lsuv_cli.cli.app import app
from lsuv_cli.core.preinit import generator
from support.command import COMMAND
from support.graphs import Array, random_weight, save_graph

PICTURES = 6
SEED = 3
MEAN, STD = 0.5, 0.25
TIMED = re.compile(r"^reading the model: \d+\.\d\d s$", re.MULTILINE)
OURS = ""  # the options before the command

GROUP: Any = typer.main.get_command(app)
PARAMETERS: Mapping[str, Any] = {
    name: [parameter for parameter in command.params if parameter.param_type_name == "option"]
    for name, command in ((OURS, GROUP), *GROUP.commands.items())
}


@dataclass(frozen=True)
class Result:
    """What a command did."""

    folder: Path
    stdout: str
    stderr: str

    @cached_property
    def report(self) -> Any:
        return json.loads(self.stdout)

    @property
    def options(self) -> Any:
        return self.report["options"]

    @property
    def input(self) -> Any:
        return self.report["samples"]["inputs"][0]

    def layer(self, name: str) -> Any:
        (layer,) = [row for row in self.report["layers"] if row["name"] == name]
        return layer

    def tensors(self, name: str) -> dict[str, Array]:
        return load_file(self.folder / name)

    def starts(self, name: str, text: str) -> bool:
        return (self.folder / name).read_bytes().startswith(text.encode())

    @property
    def picked(self) -> set[int]:
        """The pictures of which, cut out and normalised as in `DATA_A`, the input was made."""
        for picked in combinations(range(PICTURES), self.report["samples"]["used"]):
            values = (np.stack([centre(one) for one in picked]) / 255 - MEAN) / STD
            if np.allclose([values.mean(), values.std()], [self.input["mean"], self.input["std"]]):
                return set(picked)
        raise AssertionError(self.input)


Check = Callable[[Result], object]


@dataclass(frozen=True)
class Case:
    """A command line, how it ends, and for each option in it what shows that it did its work."""

    command: str
    arguments: str
    checks: Mapping[str, Check]
    code: int = 0
    cwd: str = "."


def centre(number: int) -> Array:
    """What is in the middle of a picture; around it is black."""
    low = 40 * number
    return np.random.default_rng(number).integers(low, 256, (10, 8, 3), dtype=np.uint8)


def chosen(seed: int) -> set[int]:
    return set(generator(seed, "samples").permutation(PICTURES)[:3].tolist())


NO_TF32 = "--tf32 has no effect on cpu"
SIZES = "--input-shape x:3,12,12"

# Of black borders nothing is left when they are cut off, and only then.
DATA_A = (
    "-d pictures --samples 3 --mean 0.5 --std 0.25 --resize 20x16 --crop 10x8 --seed 3 "
    "--target-std 2 --tol 0.01 --per channel --exclude conv2 --target fc=0.5 --batch-size 2 --tf32 "
    "--json"
)
DATA_B = (
    f"--data pictures --preset half {SIZES} --batch-axis x=0 --bn running "
    "--include 'conv*' --memory 20KB --json --quiet"
)
CHECKS_A: Mapping[str, Check] = {
    "-d": lambda r: r.report["samples"]["available"] == PICTURES,
    "--samples": lambda r: len(r.picked) == 3,
    "--mean": lambda r: r.picked,
    "--std": lambda r: r.picked,
    "--resize": lambda r: r.picked,
    "--crop": lambda r: r.input["shape"] == [3, 3, 10, 8],
    "--seed": lambda r: r.picked == chosen(SEED) != chosen(0),
    "--target-std": lambda r: r.layer("conv1")["target_std"] == 2,
    "--tol": lambda r: r.options["tol"] == 0.01,
    "--per": lambda r: r.options["per"] == "channel",
    "--target": lambda r: r.layer("fc")["target_std"] == 0.5,
    "--batch-size": lambda r: r.options["batch_size"] == 2,
    "--tf32": lambda r: "TF32" in r.report["device"] or NO_TF32 in r.stderr,
    "--json": lambda r: r.report,
}
CHECKS_B: Mapping[str, Check] = {
    "--data": lambda r: r.report["samples"]["used"] == PICTURES,
    "--preset": lambda r: r.options["mean"] == r.options["std"] == [0.5],
    "--input-shape": lambda r: r.input["shape"] == [PICTURES, 3, 12, 12],
    "--batch-axis": lambda r: r.options["batch_axes"] == {"x": 0},
    "--bn": lambda r: r.options["bn"] == "running",
    "--memory": lambda r: r.options["batch_size"] == 1,
    "--json": lambda r: r.report,
    "--quiet": lambda r: r.stderr == "",
}

CASES = [
    Case(
        "init",
        f"m.onnx {DATA_A} -v --max-iter 3 --pre-init keep --bias center -o old.safetensors -f "
        "--verify --out-model out.onnx --report page.html --plot plot.svg",
        {
            **CHECKS_A,
            "--per": lambda r: len(r.layer("fc")["scale"]) == 5,
            "--exclude": lambda r: r.layer("conv2")["status"] == "excluded",
            "-v": lambda r: TIMED.search(r.stderr),
            "--max-iter": lambda r: r.options["max_iter"] == 3,
            "--pre-init": lambda r: parallel(
                r.tensors("old.safetensors")["fc.weight"], random_weight(5, 8, seed=3)
            ),
            "--bias": lambda r: len(set(r.tensors("old.safetensors")["fc.bias"])) == 5,
            "-o": lambda r: r.tensors("old.safetensors").keys() >= {"conv1.weight", "fc.bias"},
            "-f": lambda r: not r.starts("old.safetensors", "old"),
            "--verify": lambda r: r.layer("fc")["after"]["variance"] == pytest.approx(0.25),
            "--out-model": lambda r: same_weights(r, "out.onnx", "old.safetensors"),
            "--report": lambda r: r.starts("page.html", "<!doctype html"),
            "--plot": lambda r: "<svg" in (r.folder / "plot.svg").read_text(),
        },
    ),
    Case(
        "init",
        f"m.onnx {DATA_B} --no-verify --max-shard-size 1KB --out parts.safetensors",
        {
            **CHECKS_B,
            "--include": lambda r: r.layer("fc")["status"] == "excluded",
            "--no-verify": lambda r: r.layer("conv1")["after"] is None,
            "--max-shard-size": lambda r: len(r.report["out"]["files"]) > 2,
            "--out": lambda r: (r.folder / "parts.safetensors.index.json").exists(),
        },
    ),
    Case(
        "verify",
        f"m.onnx {DATA_A} --verbose",
        {
            **CHECKS_A,
            "--exclude": lambda r: r.layer("conv2")["status"] == "excluded",
            "--verbose": lambda r: TIMED.search(r.stderr),
        },
        code=4,
    ),
    Case(
        "verify",
        f"m.onnx {DATA_B} --report judged.html --plot older.svg --force",
        {
            **CHECKS_B,
            "--include": lambda r: r.layer("fc")["status"] == "excluded",
            "--report": lambda r: r.starts("judged.html", "<!doctype html"),
            "--plot": lambda r: "<svg" in (r.folder / "older.svg").read_text(),
            "--force": lambda r: not r.starts("older.svg", "old"),
        },
        code=4,
    ),
    Case(
        "compare",
        f"m.onnx {DATA_A} --verbose --inits lsuv,keep --backward --max-iter 3 --pre-init he "
        "--bias center --report compared.html --plot old.svg --force",
        {
            **CHECKS_A,
            "--target-std": lambda r: forward(r, "conv1", "lsuv")["std"] == pytest.approx(2),
            "--target": lambda r: forward(r, "fc", "lsuv")["std"] == pytest.approx(0.5),
            "--exclude": lambda r: forward(r, "conv2", "lsuv")["std"] != pytest.approx(2),
            "--verbose": lambda r: TIMED.search(r.stderr),
            "--inits": lambda r: [init["name"] for init in r.report["inits"]] == ["lsuv", "keep"],
            "--backward": lambda r: r.layer("fc")["backward"]["lsuv"] > 0,
            "--max-iter": lambda r: r.options["max_iter"] == 3,
            "--pre-init": lambda r: r.options["pre_init"] == "he",
            "--bias": lambda r: forward(r, "conv1", "lsuv")["mean"] == pytest.approx(0, abs=1e-5),
            "--report": lambda r: r.starts("compared.html", "<!doctype html"),
            "--plot": lambda r: "<svg" in (r.folder / "old.svg").read_text(),
            "--force": lambda r: not r.starts("old.svg", "old"),
        },
    ),
    Case(
        "compare",
        f"m.onnx {DATA_B} --no-backward",
        {
            **CHECKS_B,
            "--include": lambda r: forward(r, "fc", "lsuv")["std"] != pytest.approx(1),
            "--no-backward": lambda r: set(r.layer("conv1")["backward"].values()) == {None},
        },
    ),
    Case(
        "inspect",
        f"m.onnx {SIZES} --plan --samples 50 --batch-size 7 --exclude conv2 --target fc=0.5 "
        "--device cpu --tf32 --verbose --json",
        {
            "--input-shape": lambda r: r.report["inputs"][0]["shape"][1:] == [3, 12, 12],
            "--plan": lambda r: r.report["plan"]["segments"] > 1,
            "--samples": lambda r: r.report["plan"]["samples"] == 50,
            "--batch-size": lambda r: r.report["plan"]["batch_size"] == 7,
            "--exclude": lambda r: r.layer("conv2")["skipped"],
            "--target": lambda r: r.layer("fc")["target_std"] == 0.5,
            "--tf32": lambda r: NO_TF32 in r.stderr,
            "--verbose": lambda r: TIMED.search(r.stderr),
            "--json": lambda r: r.report,
        },
    ),
    Case(
        "inspect",
        f"m.onnx {SIZES} --batch-axis x=-4 --plan --memory 20KB --include 'conv*' -q --json",
        {
            "--memory": lambda r: r.report["plan"]["batch_size"] == 1,
            "--batch-axis": lambda r: r.report["inputs"][0]["batch_axis"] == 0,
            "--include": lambda r: r.layer("fc")["skipped"],
            "-q": lambda r: r.stderr == "",
        },
    ),
    Case(
        "apply",
        "m.onnx w.safetensors --out old.onnx --force --quiet",
        {
            "--out": lambda r: same_weights(r, "old.onnx", "w.safetensors"),
            "--force": lambda r: onnx.load(r.folder / "old.onnx"),
            "--quiet": lambda r: r.stderr == "",
        },
    ),
    Case(
        OURS,
        "--config ../other.toml inspect ../m.onnx --json",
        {
            "--config": lambda r: (
                [r.layer(name)["skipped"] for name in ("conv1", "conv2")]
                == [None, "matches --exclude"]
            )
        },
        cwd="configured",
    ),
    Case(
        OURS,
        "--no-config inspect ../m.onnx --json",
        {"--no-config": lambda r: r.layer("conv1")["skipped"] is None},
        cwd="configured",
    ),
    Case(OURS, "--version", {"--version": lambda r: r.stdout == f"lsuv {__version__}\n"}),
    Case(OURS, "--show-completion", {"--show-completion": lambda r: "COMPREPLY" in r.stdout}),
    Case(
        OURS,
        "--install-completion",
        {"--install-completion": lambda r: "lsuv" in (r.folder / ".bashrc").read_text()},
    ),
]

# What shows nowhere else on one process without a GPU: that it is read, and refused where it is
# wrong. Each with a value, the exit code and a part of the sentence.
REFUSED = {
    "--feed": ("gain=2", 2, "--feed gain: the model has no such input to feed; it has x"),
    "--strict": ("-d broken.png", 3, "can't read the picture broken.png"),
    "--names": ("keras", 3, "can't recover Keras' names from m.onnx"),
    "--like": ("other.safetensors", 3, "--like other.safetensors"),
    "--resume": ("m.onnx", 5, "the resume journal can't be written in m.onnx"),
    "--device": ("abacus", 2, "no such device: abacus"),
    "--provider": ("Abacus", 2, "no execution provider Abacus"),
    "--threads": ("9999", 2, "'--threads': Input should be less than or equal to 1024"),
    "--device-memory": ("much", 2, "--device-memory much: not a size"),
    "--spill-dir": ("nowhere", 2, "--spill-dir nowhere: no such folder"),
    "--model-args": ("[1]", 2, "--model-args: m.onnx is a file"),
    "--timeout": ("0", 2, "'--timeout': Input should be greater than or equal to 1"),
}
BASES = {
    "init": "m.onnx --data pictures --crop 12 --out new",
    "inspect": "m.onnx",
    "verify": "m.onnx --data pictures --crop 12",
    "compare": "m.onnx --data pictures --crop 12 --no-backward",
    "apply": "m.onnx w.safetensors --out new",
}


def refusals() -> Iterator[Case]:
    for command, base in BASES.items():
        for option in sorted(names_of(command) & REFUSED.keys()):
            value, code, says = REFUSED[option]
            checks: Mapping[str, Check] = {option: lambda r, says=says: says in r.stderr}  # type: ignore[misc]
            yield Case(command, f"{base} {option} {value}", checks, code)


def names_of(command: str) -> set[str]:
    return {name for one in PARAMETERS[command] for name in (*one.opts, *one.secondary_opts)}


def parallel(one: Array, other: Array) -> bool:
    ratios = one / other
    return np.allclose(ratios, ratios[:, :1], rtol=1e-5)


def same_weights(result: Result, model: str, weights: str) -> bool:
    written = result.tensors(weights)
    found = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(result.folder / model).graph.initializer
    }
    return all(np.array_equal(found[name], value) for name, value in written.items())


def forward(result: Result, layer: str, init: str) -> Any:
    return result.layer(layer)["forward"][init]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options")
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight", "conv1.bias"], ["c1"], name="conv1"),
        helper.make_node(
            "BatchNormalization", ["c1", "bn.weight", "bn.bias", "bn.mean", "bn.var"], ["b"]
        ),
        helper.make_node("Relu", ["b"], ["r1"]),
        helper.make_node("Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"], name="conv2"),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalMaxPool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], name="fc", transB=1),
    ]
    weights = {
        "conv1.weight": random_weight(6, 3, 3, 3, seed=1),
        "conv2.weight": random_weight(8, 6, 3, 3, seed=2),
        "fc.weight": random_weight(5, 8, seed=3),
        **{f"{name}.bias": np.full(n, 0.5, np.float32) for name, n in (("conv1", 6), ("fc", 5))},
        "conv2.bias": np.full(8, 0.5, np.float32),
        **{f"bn.{name}": np.full(6, 1, np.float32) for name in ("weight", "bias", "mean", "var")},
    }
    save_graph(folder / "m.onnx", nodes, weights, ["n", 3, "h", "w"])
    save_file({name: 2 * value for name, value in weights.items()}, folder / "w.safetensors")
    save_file({"other.weight": weights["fc.weight"]}, folder / "other.safetensors")
    (folder / "pictures").mkdir()
    for number in range(PICTURES):
        pixels = np.zeros((20, 16, 3), np.uint8)
        pixels[5:15, 4:12] = centre(number)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
    for name in ("old.safetensors", "old.svg", "older.svg", "old.onnx", "broken.png"):
        (folder / name).write_text("old")
    (folder / "other.toml").write_text('exclude = ["conv2"]\n')
    (folder / "configured").mkdir()
    (folder / "configured" / "lsuv.toml").write_text('exclude = ["conv1"]\n')
    return folder


@pytest.mark.parametrize(
    "case", [*CASES, *refusals()], ids=lambda case: f"{case.command} {' '.join(case.checks)}"
)
def test_every_option_has_its_effect(folder: Path, case: Case) -> None:
    words = shlex.split(case.arguments)
    # A shell around it, for which completion is shown; and what completion writes to is its home.
    done = subprocess.run(
        ["bash", "-c", f"{COMMAND} {case.command} {case.arguments}; exit $?"],
        cwd=folder / case.cwd,
        env={**os.environ, "COLUMNS": "100", "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == case.code, done.stderr
    result = Result(folder, done.stdout, done.stderr)
    for option, check in case.checks.items():
        assert option in words
        assert check(result), f"{option}\n{done.stdout}\n{done.stderr}"
    assert not (folder / "new").exists()


def test_no_option_is_left_out() -> None:
    checked: dict[str, set[str]] = defaultdict(set)
    for case in (*CASES, *refusals()):
        checked[case.command].update(case.checks)
    for command, parameters in PARAMETERS.items():
        for parameter in parameters:
            for names in filter(None, (parameter.opts, parameter.secondary_opts)):
                assert checked[command] & set(names), f"lsuv {command}: {names} is not tried"
    everything = set().union(*map(names_of, PARAMETERS))
    assert set().union(*checked.values()) == everything
