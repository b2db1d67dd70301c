"""`lsuv_cli.initialize`: the command's engine from Python."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lsuv_cli
from lsuv_cli import Initialized, LsuvError, LsuvWarning, initialize
from lsuv_cli.api.keywords import CHECKS, CompareKeywords, InitKeywords
from support.graphs import random_weight, save_graph

Run = Callable[..., subprocess.CompletedProcess[str]]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 7), nn.Tanh(), nn.Linear(7, 3)
    )


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A model, and pictures for it."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network(),
            (torch.zeros(1, 2, 6, 6),),
            tmp_path / "m.onnx",
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
    pictures = torch.randn(40, 2, 6, 6)
    np.save(tmp_path / "x.npy", pictures.numpy())
    return tmp_path / "m.onnx", pictures


def same(found: Initialized, expected: dict[str, NDArray[Any]]) -> bool:
    return found.weights.keys() == expected.keys() and all(
        np.array_equal(value, expected[name]) for name, value in found.weights.items()
    )


def test_the_same_as_the_command(
    tmp_path: Path, lsuv: Run, given: tuple[Path, torch.Tensor]
) -> None:
    model, pictures = given
    before = sorted(path.name for path in tmp_path.iterdir())
    done = lsuv("init", model, "--data", "x.npy", "--out", "w.safetensors", "--samples", "40")
    assert done.returncode == 0
    expected = load_file(tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").unlink()
    loader = DataLoader(TensorDataset(pictures, torch.arange(40)), batch_size=16)
    for samples in (
        tmp_path / "x.npy",
        pictures.numpy(),
        pictures,
        {"x": pictures.numpy()},
        loader,
        ({"x": pictures[start : start + 7]} for start in range(0, 40, 7)),
    ):
        found = initialize(model, samples, device="cpu")
        assert found.converged
        assert found.report.samples == 40
        assert same(found, expected)
    assert same(initialize(model.read_bytes(), pictures), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_loads_into_the_module(given: tuple[Path, torch.Tensor]) -> None:
    model, pictures = given
    found = initialize(str(model), pictures, target_std=0.5, exclude=("5.*",))
    net = network()
    net.load_state_dict(found.state_dict())
    with torch.no_grad():
        assert net[:1](pictures).std(correction=0).item() == pytest.approx(0.5, rel=1e-4)
        assert net[:4](pictures).std(correction=0).item() == pytest.approx(0.5, rel=1e-4)


def test_bfloat16_tensors(given: tuple[Path, torch.Tensor]) -> None:
    model, pictures = given
    rounded = pictures.bfloat16()
    assert same(initialize(model, rounded), initialize(model, rounded.float()).weights)


def test_no_more_is_taken_than_wanted(given: tuple[Path, torch.Tensor]) -> None:
    model, pictures = given
    taken = []

    def endless() -> object:
        while True:
            taken.append(1)
            yield pictures[:8], None

    assert initialize(model, endless(), count=20).report.samples == 20
    assert len(taken) == 3


def test_what_can_not_be_used_is_an_lsuv_error(
    tmp_path: Path, given: tuple[Path, torch.Tensor]
) -> None:
    model, pictures = given
    for samples, says in (
        (pictures[:, :1], "does not fit"),
        ({"y": pictures}, "lack the model's input x"),
        ([], "no batch"),
        (pictures[:0], "samples"),
        (tmp_path / "nothing", "nothing"),
    ):
        with pytest.raises(LsuvError, match=says):
            initialize(model, samples)
    with pytest.raises(LsuvError, match="<bytes>"):
        initialize(b"no model", pictures)
    with pytest.raises(LsuvError, match="target_std"):
        initialize(model, pictures, target_std=-1)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"count": 0}, "count 0: must be at least 1"),
        ({"count": -1}, "count -1: must be at least 1"),
        ({"count": "many"}, "count many: not a number of samples"),
        ({"count": 1.5}, "count 1.5: not a whole number"),
        ({"seed": -1}, "seed -1: must be at least 0"),
        ({"threads": -3}, "threads -3: must be between 0 and 1024"),
        ({"batch_size": 0}, "batch_size 0: must be at least 1"),
        ({"max_iter": 0}, "max_iter 0: must be at least 1"),
        ({"memory_bytes": 0}, "memory_bytes 0"),
        ({"pre_init": "foo"}, "pre_init 'foo': not one of orthonormal, delta-orthogonal, he"),
        ({"bias": None}, "bias None: not one of zero, keep, center"),
        ({"bn": "foo"}, "bn 'foo'"),
        ({"per": "Layer"}, "per 'Layer'"),
        ({"names": "foo"}, "names 'foo'"),
        ({"target_std": "1"}, "target_std '1': not a number"),
        ({"tol": 0}, "tol 0.0: must be between"),
        ({"mean": "0.5"}, "mean '0.5': not a number"),
        ({"mean": (0.5, float("inf"))}, "mean 0.5, inf: must be finite"),
        ({"mean": (0.5, 1, 2)}, "mean has 3 values, but the samples have 2 channels"),
        ({"std": (0,)}, "std 0: must be positive"),
        ({"std": -1}, "std -1: must be positive"),
        ({"exclude": "nosuch*"}, "nosuch"),
        ({"include": (1,)}, "include 1: not a pattern"),
        ({"device": None}, "device None"),
        ({"device": "abacus"}, "no such device: abacus"),
        ({"out": 5}, "type int is no path"),
        ({"samples": None}, "the samples are of the type NoneType"),
        ({"samples": [1, 2]}, "a batch is of the type int"),
        ({"samples": [[1.0, 2.0]]}, "no array with samples"),
        ({"samples": [{}]}, "no array with samples"),
        ({"samples": [[[[1.0], [2.0, 3.0]]]]}, "that is no array"),
        ({"model": 5}, "model: a value of the type int is neither a PyTorch module nor a path"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, dict) else "",
)
def test_options_out_of_range(
    given: tuple[Path, torch.Tensor], option: dict[str, Any], says: str
) -> None:
    model, pictures = given
    with pytest.raises(LsuvError, match=re.escape(says)):
        initialize(**{"model": model, "samples": pictures, **option})


def test_the_signature_shows_every_keyword_and_its_default() -> None:
    parameters = inspect.signature(initialize).parameters
    taken = InitKeywords.__annotations__.keys()
    assert taken <= parameters.keys()
    assert taken | CompareKeywords.__annotations__.keys() == CHECKS.keys()
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    defaults = {name: parameters[name].default for name in ("count", "pre_init", "verify", "std")}
    assert defaults == {"count": 128, "pre_init": "orthonormal", "verify": True, "std": ()}
    documented = inspect.getdoc(initialize) or ""
    assert [name for name in parameters if f"\n    {name}: " not in documented] == []


def test_an_unknown_keyword_is_refused(given: tuple[Path, torch.Tensor]) -> None:
    model, pictures = given
    keywords: dict[str, Any] = {"colour": "red", "count": -1}
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        initialize(model, pictures, **keywords)


def test_options_in_other_forms(given: tuple[Path, torch.Tensor]) -> None:
    model, pictures = given
    expected = initialize(model, pictures, count=None, mean=(0.1,), std=(0.9, 1.1)).weights
    few = initialize(model, pictures, exclude=("5.*",), target_std=0.5).weights
    stds = np.array([0.9, 1.1])
    assert same(initialize(model, pictures, count="all", mean=0.1, std=stds), expected)
    numbers: dict[str, Any] = {"target_std": np.float32(0.5), "seed": np.int64(0)}
    one = initialize(model, pictures, exclude="5.*", **numbers)
    assert same(one, few)
    assert repr(one) == "<Initialized: 3 layers, 0 of them failed, 6 tensors, 40 samples>"


def test_warnings_are_those_of_python(given: tuple[Path, torch.Tensor]) -> None:
    model, pictures = given
    with pytest.warns(LsuvWarning, match="far from mean 0 and std 1") as caught:
        initialize(model, pictures * 50 + 100)
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]


def test_token_ids_out_of_range(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="look_up"),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    weights = {"table": random_weight(9, 4), "w": random_weight(4, 5)}
    ids = TensorProto.INT64
    model = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 6), input_type=ids, name="ids")
    samples = np.arange(12).reshape(2, 6)
    with pytest.raises(LsuvError, match="out of the range of the embedding that look_up") as caught:
        initialize(model, samples)
    assert "0 to 8" in str(caught.value)
    assert "batch axis" not in str(caught.value)


def test_the_import_is_light() -> None:
    script = "import lsuv_cli, sys; print('numpy' in sys.modules, lsuv_cli.__version__)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", lsuv_cli.__version__]
    with pytest.raises(AttributeError, match="nothing"):
        lsuv_cli.nothing  # noqa: B018


def test_torchscript_is_fed_what_the_command_feeds(tmp_path: Path, lsuv: Run) -> None:
    """It does not tell its inputs' types, so that those of the samples decide."""
    trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace
    net = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    ids = torch.arange(36).reshape(12, 3) % 9
    trace(net, ids).save(str(tmp_path / "m.pt"))
    np.save(tmp_path / "ids.npy", ids.numpy().astype(np.int32))
    done = lsuv("init", "m.pt", "--data", "ids.npy", "--out", "w.safetensors")
    assert done.returncode == 0, done.stderr
    found = initialize(tmp_path / "m.pt", ids.numpy().astype(np.int32))
    assert same(found, load_file(tmp_path / "w.safetensors"))
    with pytest.raises(LsuvError, match="a token id, or another index, is out"):
        initialize(tmp_path / "m.pt", ids + 9)
