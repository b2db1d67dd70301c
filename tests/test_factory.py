"""Models that a name tells to make: package.module:factory and file.py:Network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from support.command import Run
from support.roads import silenced

SOURCE = """
import torch
from torch import nn

print("printed when it is imported")


class Net(nn.Module):
    def __init__(self, width=8, fail=False):
        super().__init__()
        if fail:
            raise ValueError("the width is wrong")
        self.conv, self.shift = nn.Conv2d(3, width, 3), nn.Parameter(torch.randn(width, 1, 1))
        self.fc = nn.Linear(width, 4)

    def forward(self, x):
        return self.fc((self.conv(x) + self.shift).relu().mean((2, 3)))


net = Net()


class Nets:
    @staticmethod
    def of(width):
        print("printed when it is made")
        return Net(width)


def number():
    return 3


def leave():
    raise SystemExit("left")


def cuda():
    return Net().cuda()
"""


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").touch()
    (tmp_path / "nets" / "some.py").write_text(SOURCE)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype("f4"))


@pytest.mark.parametrize(
    ("model", "arguments", "width"),
    [
        ("nets.some:Net", None, 8),
        ("nets/some.py:Net", {"width": 6}, 6),
        ("nets.some:Nets.of", [5], 5),
        ("nets.some:net", None, 8),
    ],
)
def test_every_kind_of_name(
    tmp_path: Path, forked: Run, model: str, arguments: object, width: int
) -> None:
    more = () if arguments is None else ("--model-args", json.dumps(arguments))
    done = forked("init", model, "--data", "x.npy", "--out", "out", "--json", *more)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["model"]["path"] == model
    written = load_file(tmp_path / "out")
    assert written.keys() == {"conv.weight", "conv.bias", "shift", "fc.weight", "fc.bias"}
    assert written["conv.weight"].shape == (width, 3, 3, 3)


def test_every_command_and_the_same_values_each_time(tmp_path: Path, forked: Run) -> None:
    for out in ("a", "b"):
        done = forked(
            *("init", "nets.some:Net", "--data", "x.npy", "--out", out, "--out-model", f"{out}.pt2")
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with silenced():
        program = torch.export.load(tmp_path / "a.pt2")
    written = load_file(tmp_path / "a")
    assert all(torch.equal(value, written[name]) for name, value in program.state_dict.items())
    assert forked("verify", "nets.some:Net", "a", "--data", "x.npy").returncode == 0
    assert forked("verify", "a.pt2", "--data", "x.npy").returncode == 0
    shown = forked("inspect", "nets.some:Net", "--input-shape", "3,8,8")
    assert shown.returncode == 0, shown.stderr
    assert "conv.weight" in shown.stdout
    compared = forked("compare", "nets.some:Net", "--data", "x.npy", "--no-backward")
    assert compared.returncode == 0, compared.stderr


@pytest.mark.parametrize(
    ("model", "arguments", "code", "says"),
    [
        ("nets.some:Net", '{"fail": true}', 3, "raised ValueError: the width is wrong, at "),
        ("nets.some:Net", '{"depth": 2}', 3, "unexpected keyword argument 'depth'"),
        ("nets.some:number", None, 3, "gives a value of the type int, and no PyTorch module"),
        ("nets.some:leave", None, 3, "raised SystemExit: left, at "),
        ("nets.some:nett", None, 3, "nets.some has no nett; is it net"),
        ("nets.other:Net", None, 3, "No module named 'nets.other'"),
        ("other.py:Net", None, 3, "no such file: other.py"),
        ("nets.some:net", "[1]", 2, "is a module and takes none"),
        ("nets.some:Net", "8", 2, "neither an object"),
        ("nets.some:Net", "{", 2, "not JSON"),
    ],
)
def test_what_can_not_be_used(
    tmp_path: Path, forked: Run, model: str, arguments: str | None, code: int, says: str
) -> None:
    more = () if arguments is None else ("--model-args", arguments)
    done = forked("init", model, "--data", "x.npy", "--out", "out", *more)
    assert done.returncode == code, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert says in error
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_module_on_a_gpu_that_is_not_there(forked: Run) -> None:
    done = forked("init", "nets.some:cuda", "--data", "x.npy", "--out", "out")
    assert done.returncode == 3
    # The line that asks for the GPU, and not one of PyTorch's.
    (line,) = [n for n, text in enumerate(SOURCE.splitlines(), 1) if ".cuda()" in text]
    assert "nets.some:cuda raised" in done.stderr
    assert f"some.py:{line}; correct it" in done.stderr


def test_samples_that_do_not_fit(tmp_path: Path, forked: Run) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 2, 8, 8), np.float32) + np.eye(8, dtype=np.float32))
    done = forked("init", "nets.some:Net", "--data", "x.npy", "--out", "out")
    assert done.returncode == 3
    assert "nets.some:Net can't be called on these samples" in done.stderr
    assert "to have 3 channels, but got 2 channels" in done.stderr
