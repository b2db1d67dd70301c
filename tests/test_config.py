"""Options from `lsuv.toml` and `pyproject.toml`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_pipelines import folder  # noqa: F401 - a fixture

Run = Callable[..., subprocess.CompletedProcess[str]]


def options_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["options"]
    return found


def test_command_line_over_command_over_all(folder: Path, lsuv: Run) -> None:  # noqa: F811
    (folder / "lsuv.toml").write_text(
        'target-std = 0.5\nseed = 3\nsamples = 8\ndata = "data"\n'
        '[init]\nseed = 4\nexclude = ["fc2"]\nbias = "keep"\nverify = false\n'
    )
    done = lsuv("init", "m.onnx", "-o", "w", "--json", "--target-std", "2")
    assert done.stderr.startswith(f"options from {folder / 'lsuv.toml'}\n")
    found = options_of(done)
    assert (found["target_std"], found["seed"], found["samples"]) == (2.0, 4, 8)
    assert (found["exclude"], found["bias"]) == (["fc2"], "keep")
    found = options_of(lsuv("--no-config", "init", "m.onnx", "-d", "data", "-o", "v", "--json"))
    assert (found["target_std"], found["seed"], found["exclude"]) == (1.0, 0, [])


def test_pyproject_of_a_folder_above_and_paths_relative_to_it(
    folder: Path,  # noqa: F811
    lsuv: Run,
) -> None:
    (folder / "pyproject.toml").write_text('[tool.lsuv]\ndata = ["data"]\nsamples = "5"\n')
    inner = folder / "inner"
    inner.mkdir()
    found = options_of(lsuv("init", "../m.onnx", "-o", "w", "--json", cwd=inner))
    assert found["samples"] == 5
    (folder / "other.toml").write_text("samples = 6\n")
    done = lsuv(
        *("--config", "../other.toml", "init", "../m.onnx", "-d", "../data", "-o", "v", "--json"),
        cwd=inner,
    )
    assert options_of(done)["samples"] == 6


def test_the_command_line_wins_over_what_contradicts_it(folder: Path, lsuv: Run) -> None:  # noqa: F811
    (folder / "lsuv.toml").write_text(
        'preset = "imagenet"\nquiet = true\nprovider = "NoSuchProvider"\n'
    )
    given = ("init", "m.onnx", "-d", "data", "-o", "w", "--force", "--device", "cpu", "--json")
    done = lsuv(*given, "--mean", "0.5", "--verbose")
    assert options_of(done)["mean"] == [0.5]
    assert "measuring" in done.stderr
    (folder / "lsuv.toml").write_text("mean = [0.25, 0.5, 1]\nstd = 2\nquiet = true\n")
    done = lsuv(*given)
    assert done.stderr.startswith("error: --mean has 3 values")
    (folder / "lsuv.toml").write_text("mean = [0.25]\nstd = 2\nquiet = true\n")
    done = lsuv(*given)
    assert (options_of(done)["mean"], options_of(done)["std"]) == ([0.25], [2])
    assert done.stderr == ""
    done = lsuv(*given, "--preset", "half")
    assert (options_of(done)["mean"], options_of(done)["std"]) == ([0.5], [0.5])


def test_lists_and_globs_of_a_folder_with_a_strange_name(folder: Path, lsuv: Run) -> None:  # noqa: F811
    odd = folder / "a[1]"
    (odd / "inner").mkdir(parents=True)
    (folder / "data").rename(odd / "data")
    for text in ('data = "dat?"\n', 'data = "@list"\n'):
        (odd / "lsuv.toml").write_text(text)
        (odd / "list").write_text("../data\n")  # as paths in a list are: relative to here
        done = lsuv("init", "../../m.onnx", "-o", "w", "--force", "--json", cwd=odd / "inner")
        assert options_of(done)["samples"] > 0


def test_a_broken_file_does_not_keep_the_help_away(folder: Path, lsuv: Run) -> None:  # noqa: F811
    (folder / "lsuv.toml").write_text("colour = 1\n")
    done = lsuv("init", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--target-std" in done.stdout


def test_other_people_s_pyproject_is_left_alone(folder: Path, lsuv: Run) -> None:  # noqa: F811
    for text in ("[tool]\n", "tool = 3\n", "not toml"):
        (folder / "pyproject.toml").write_text(text)
        done = lsuv("init", "m.onnx", "-d", "data", "-o", "w", "--force")
        assert done.returncode == 0, done.stderr
        assert "options from" not in done.stderr
    (folder / "pyproject.toml").write_text("[tool]\nlsuv = 3\n")
    done = lsuv("init", "m.onnx", "-d", "data", "-o", "v")
    assert done.returncode == 2
    assert "[tool.lsuv]" in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour = 1\n", "colour is no option"),
        ("[init]\nplan = true\n", "init has no option plan"),
        ('seed = "x"\n', "a whole number"),
        ("strict = 1\n", "true or false"),
        ("init = 3\n", "[init]"),
        ("seed = \n", "not TOML"),
        ("seed = -1\n", "seed"),
        ('bias = "none"\n', "bias"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder: Path, lsuv: Run, text: str, says: str) -> None:  # noqa: F811
    (folder / "lsuv.toml").write_text(text)
    done = lsuv("init", "m.onnx", "-d", "data", "-o", "w")
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("error:") == 1
    assert not (folder / "w").exists()
