"""The documentation's commands, run; `python tests/test_docs.py` writes down what they print.

In a folder with a model (`model.onnx`) and photographs (`imgs/`), the blocks of each document run
in order: `console` blocks line by line, `python` blocks as scripts, and what a `console` block
shows must be what its commands print. A script whose first line is a comment with a file's name is
kept under that name. A block whose fence names a library, as in ```python flax, runs where that is
installed. `sh` and `py` blocks do not run: they set up, or need what is not here.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main

from lsuv_cli.cli.app import app
from support.command import Run

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENVIRONMENT = Path(sys.executable).parent.parent
BLOCK = re.compile(r"^```(\w*) ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIBRARIES = frozenset(("flax", "keras", "lightning", "timm"))  # of which `make test` has none
SCRIPT_NAME = re.compile(r"# (\w+\.py)\n")

# True on one machine and not on another: time, size of rounding errors, why there is no GPU.
VOLATILE = re.compile(
    r"in \d+\.\d s on \S+$|\|Var-1\| \d\.\de-\d\d|^running on the CPU:.*\n", re.MULTILINE
)


def shell(command: str, folder: Path) -> str:
    """What a command prints, on stdout and stderr; it must succeed."""
    path = f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def demo(folder: Path) -> str:
    """The last command of `make demo`, and what it prints; the set-up is taken as done."""
    shown = shell(
        f"make --no-print-directory -C {ROOT} demo VENV={ENVIRONMENT} DEMO={folder / 'demo'} "
        f"-o {ENVIRONMENT / '.demo'}",
        folder,
    )
    shown = shown.replace(str(folder) + "/", "").replace(str(ENVIRONMENT / "bin") + "/", "")
    return "$ " + shown[shown.index("lsuv init") :]


def run_console(block: str, folder: Path) -> str:
    """The block's commands, each followed by what it prints."""
    parts = []
    for match in re.finditer(r"^\$ ((?:.*\\\n)*.*\n)", block, re.MULTILINE):
        parts += [match.group(0), shell(match.group(1), folder)]
    return "".join(parts)


def rewritten(document: str, folder: Path) -> str:
    """The document with what its commands really print."""

    def run(match: re.Match[str]) -> str:
        kind, which, text = match.groups()
        assert which in {"", "demo"} | LIBRARIES, which
        if which in LIBRARIES and find_spec(which) is None:
            return match.group(0)
        if kind == "python":
            named = SCRIPT_NAME.match(text)
            script = named.group(1) if named else "snippet.py"
            (folder / script).write_text(text)
            shell(f"{sys.executable} {script}", folder)
        elif kind == "console" and "| jq" in text and shutil.which("jq") is None:
            return match.group(0)
        elif kind == "console":
            shown = demo(folder) if which == "demo" else run_console(text, folder)
            shown = "".join(f"{line.rstrip()}\n" for line in shown.splitlines())
            return f"```{kind}{' ' if which else ''}{which}\n{shown}```"
        return match.group(0)

    return BLOCK.sub(run, document)


def prepare(folder: Path, model: Path, images: Path) -> Path:
    """The model and the pictures that the documents speak of."""
    shutil.copy(model, folder / "model.onnx")
    shutil.copytree(images / "photos", folder / "imgs")
    return folder


def words(text: str) -> Iterator[tuple[int, str]]:
    """Every word with its line, without what depends on the machine."""
    for number, line in enumerate(VOLATILE.sub("", text).splitlines(), 1):
        for word in line.split():
            yield number, word


def same(one: str, other: str) -> bool:
    """Equal, or fractions that are equal but for rounding."""
    try:
        is_rounded = "." in one + other
        return one == other or (is_rounded and math.isclose(float(one), float(other), rel_tol=2e-3))
    except ValueError:
        return False


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_what_they_print(
    tmp_path: Path, sample_models: Callable[[str], Path], images: Path, path: Path
) -> None:
    text = printed = path.read_text()
    if re.search("^```(console|python)", text, re.MULTILINE):
        printed = rewritten(text, prepare(tmp_path, sample_models("fitnet1"), images))
    expected = list(words(printed))
    found = list(words(text))
    for (line, word), (_, truth) in zip(found, expected, strict=False):
        assert same(word, truth), f"{path.name}:{line}: {word}, but it is {truth}"
    assert len(found) == len(expected)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_options_of_every_command_are_listed() -> None:
    text = (ROOT / "docs" / "options.md").read_text()
    for name in typer.main.get_group(app).commands:
        assert f"$ COLUMNS=100 lsuv {name} --help\n" in text


def test_the_example_in_the_help(
    lsuv: Run, tmp_path: Path, sample_models: Callable[[str], Path], images: Path
) -> None:
    shown = lsuv("init", "--help", env={"COLUMNS": "200", "NO_COLOR": "1"}).stdout
    (example,) = re.findall(r"Example: (lsuv .*?)\s*$", shown, re.MULTILINE)
    assert "19 converged" in shell(example, prepare(tmp_path, sample_models("fitnet4"), images))
    assert (tmp_path / "init.safetensors").exists()


def main() -> None:
    """Rewrite every document."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        made = Path(name)
        for script, what in (("build.py", "fitnet1 --out ."), ("images.py", "--out images")):
            shell(f"{sys.executable} {ROOT / 'sample_models' / script} {what}", made)
        for path in DOCUMENTS:
            with tempfile.TemporaryDirectory() as folder:
                prepare(Path(folder), made / "fitnet1.onnx", made / "images")
                path.write_text(rewritten(path.read_text(), Path(folder)))


if __name__ == "__main__":
    main()
