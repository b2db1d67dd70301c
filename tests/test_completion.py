"""Shell completion, asked as the shells ask."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import COMMAND

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lsuv in", ["init", "inspect"]),
        ("lsuv init --bias ", ["zero", "keep", "center"]),
        ("lsuv init m.onnx --preset ci", ["cifar10"]),
        ("lsuv init m.onnx --device c", ["cpu", "cuda", "cuda:0"]),
        ("lsuv init ", ["folder/", "m.onnx", "net.pt"]),
        ("lsuv init folder/", ["folder/inner.onnx"]),
        ("lsuv init fo", ["folder/inner.onnx"]),
        ("lsuv verify m.onnx ", ["folder/", "net.pt", "w.safetensors"]),
    ],
)
def test_what_is_offered(tmp_path: Path, lsuv: Run, line: str, offered: list[str]) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("m.onnx", "net.pt", "w.safetensors", "notes.txt", "folder/inner.onnx"):
        (tmp_path / name).touch()
    words = str(len(line.split(" ")) - 1)
    asked = {"_LSUV_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": words}
    assert lsuv(env=asked).stdout.split() == offered
    rest = line.rpartition(" ")[2]
    asked = {"_LSUV_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = lsuv(env={**asked, "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_WORD": rest})
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == offered
    asked = {"_LSUV_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    shown = lsuv(env=asked).stdout
    assert all(word.replace(":", "\\\\:") in shown or word in shown for word in offered)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(lsuv: Run, shell: str) -> None:
    script = lsuv(env={"_LSUV_COMPLETE": f"source_{shell}"}).stdout
    assert f"complete_{shell}" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes(tmp_path: Path, lsuv: Run) -> None:
    script = lsuv(env={"_LSUV_COMPLETE": "source_bash"}).stdout
    asks = 'COMP_WORDS=(lsuv init --bn ""); COMP_CWORD=3; _lsuv_completion lsuv; '
    done = subprocess.run(
        ["bash", "-c", f'{script}\n{asks} echo "${{COMPREPLY[@]}}"'],
        env={**os.environ, "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["batch", "running"]


def test_bash_quotes_names_itself(tmp_path: Path, lsuv: Run) -> None:
    """What it is offered it takes as it is, so that a space would make two words of one."""
    (tmp_path / "my net.onnx").touch()
    asked = {"_LSUV_COMPLETE": "complete_bash", "COMP_WORDS": "lsuv init my", "COMP_CWORD": "2"}
    assert lsuv(env=asked).stdout.strip() == ""
    asked = {"_LSUV_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = lsuv(env={**asked, "_TYPER_COMPLETE_ARGS": "lsuv init my"})
    assert done.stdout.strip() == "my net.onnx"
