"""Options from `lsuv.toml` and `pyproject.toml`."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
from safetensors.numpy import load

from lsuv_cli.cli.app import app
from lsuv_cli.cli.config import read_configuration
from support.command import COMMAND, Run
from support.paths import ROOT
from support.sample_files import save_pictures
from support.small_models import save_model_and_data, small_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model_and_data(tmp_path)


def options_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["options"]
    return found


def test_command_line_over_command_over_all(folder: Path, lsuv: Run) -> None:
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
    folder: Path,
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


def test_the_command_line_wins_over_what_contradicts_it(folder: Path, lsuv: Run) -> None:
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


@pytest.mark.parametrize("rival", ["json = true", 'max-shard-size = "1GB"', 'resume = "c"'])
def test_weights_to_stdout_whatever_the_file_says(
    folder: Path,
    rival: str,
) -> None:
    (folder / "lsuv.toml").write_text(f"{rival}\nquiet = true\n")
    done = subprocess.run(
        [COMMAND, "init", "m.onnx", "--data", "data", "--out", "-"],
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(load(done.stdout)) == {"w1", "w2"}
    assert not (folder / "c").exists()


def test_a_command_s_table_wins_over_what_contradicts_it(folder: Path, lsuv: Run) -> None:
    (folder / "lsuv.toml").write_text(
        'mean = 0.1\nstd = [0.9]\nquiet = true\njson = true\ndata = "data"\n'
        '[verify]\npreset = "half"\nverbose = true\n[init]\nout = "-"\n[compare]\nstd = 3\n'
    )
    done = lsuv("verify", "m.onnx")
    assert "measuring" in done.stderr
    found = json.loads(done.stdout)["options"]
    assert (found["mean"], found["std"]) == ([0.5], [0.5])
    done = lsuv("init", "m.onnx", "--out", "w", "--json")
    assert (options_of(done)["mean"], options_of(done)["std"]) == ([0.1], [0.9])
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    read = read_configuration(folder / "lsuv.toml", commands)
    assert (read["compare"]["mean"], read["compare"]["std"]) == ("0.1", "3")
    assert "json_output" not in read["init"]
    (folder / "lsuv.toml").write_text("verbose = true\n[init]\nquiet = false\n")
    assert read_configuration(folder / "lsuv.toml", commands)["init"]["verbose"] is True


def test_verbose_says_where_options_are_from(folder: Path, lsuv: Run) -> None:
    (folder / "lsuv.toml").write_text("quiet = true\n")
    assert lsuv("inspect", "m.onnx").stderr == ""
    done = lsuv("inspect", "m.onnx", "--verbose")
    assert done.stderr.startswith(f"options from {folder / 'lsuv.toml'}\n")


def test_the_documented_example(tmp_path: Path, lsuv: Run) -> None:
    """What it excludes stays excluded when the file is verified."""
    guide = (ROOT / "docs" / "guide" / "pipelines.md").read_text()
    (example,) = re.findall("^```toml\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (tmp_path / "lsuv.toml").write_text(example)
    small_model(tmp_path / "model.onnx")
    save_pictures(tmp_path / "imgs")
    found = options_of(lsuv("init", "model.onnx", "--out", "w", "--json"))
    assert (found["exclude"], found["max_iter"]) == (["fc"], 20)
    assert options_of(lsuv("verify", "model.onnx", "w", "--json"))["exclude"] == ["fc"]


def test_a_current_folder_that_is_gone(folder: Path) -> None:
    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", f'mkdir gone && cd gone && rmdir ../gone && "$0" {command}', COMMAND],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = run(f"init {folder}/m.onnx --data {folder}/data --out {folder}/w --quiet")
    assert (done.returncode, done.stderr) == (0, "")
    done = run(f"init {folder}/m.onnx --data {folder}/data --out w --quiet")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: the current folder has been deleted")


def test_lists_and_globs_of_a_folder_with_a_strange_name(folder: Path, lsuv: Run) -> None:
    odd = folder / "a[1]"
    (odd / "inner").mkdir(parents=True)
    (folder / "data").rename(odd / "data")
    for text in ('data = "dat?"\n', 'data = "@list"\n'):
        (odd / "lsuv.toml").write_text(text)
        (odd / "list").write_text("../data\n")  # as paths in a list are: relative to here
        done = lsuv("init", "../../m.onnx", "-o", "w", "--force", "--json", cwd=odd / "inner")
        assert options_of(done)["samples"] > 0


def test_a_broken_file_does_not_keep_the_help_away(folder: Path, lsuv: Run) -> None:
    (folder / "lsuv.toml").write_text("colour = 1\n")
    done = lsuv("init", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--target-std" in done.stdout


def test_other_people_s_pyproject_is_left_alone(folder: Path, lsuv: Run) -> None:
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
        ("colour = 1\n", "colour is not an option"),
        ("[init]\nplan = true\n", "init has no option plan"),
        ('seed = "x"\n', "a whole number"),
        ("strict = 1\n", "true or false"),
        ("init = 3\n", "[init]"),
        ("seed = \n", "not TOML"),
        ("seed = -1\n", "seed"),
        ('bias = "none"\n', "bias"),
    ],
)
def test_what_is_wrong_is_one_sentence(folder: Path, lsuv: Run, text: str, says: str) -> None:
    (folder / "lsuv.toml").write_text(text)
    done = lsuv("init", "m.onnx", "-d", "data", "-o", "w")
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("error:") == 1
    assert not (folder / "w").exists()
