"""The rooms: imports run one way, and each heavy library has one owner."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lsuv_cli
from support.paths import ROOT

PACKAGE = Path(lsuv_cli.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS_FOLDER = ROOT / "tests"
TESTS = sorted(TESTS_FOLDER.rglob("*.py"))
PURE = {"numpy"}
STDLIB_FOR_CORE = {
    "__future__",
    "collections",
    "dataclasses",
    "enum",
    "fnmatch",
    "hashlib",
    "math",
    "pathlib",
    "re",
    "typing",
}
OWNERS = {
    "typer": {"cli", "commands", "exits"},
    "rich": {"console", "report"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "onnx": {"model"},
    "onnxruntime": {"sweep"},
    "PIL": {"samples"},
    "bracex": {"samples"},
    "pyarrow": {"samples"},
    "safetensors": {"samples", "weights"},
    "onnx2fx": {"gradients"},
    "threadpoolctl": {"weights"},
    "torch": {"api", "gradients", "model", "processes", "weights"},
    "google": {"model"},
}
MAY_IMPORT = {
    "core": set(),
    "model": {"core"},
    "samples": {"core"},
    "sweep": {"core"},
    "weights": {"core"},
    "report": {"core"},
    "console": {"core"},
    "processes": {"core"},
    "exits": {"core", "console", "processes"},
    "naming": {"core", "model"},
    "engine": {"core", "model", "sweep", "weights"},
    "writing": {"core", "model", "weights"},
    "weights_file": {"core", "model", "naming", "weights"},
    "sweeper": {"core", "engine", "model", "sweep"},
    "iteration": {"core", "engine", "forward", "model", "sweeper", "writing"},
    "forward": {"core", "engine", "model", "sweeper"},
    "gradients": {"core", "model"},
    "loading": {"budget", "core", "samples"},
    "budget": {"core", "model"},
    "checkpoint": {"core", "sweep"},
    "storing": {"budget", "checkpoint", "core", "samples", "sweep"},
    "control": {"core", "model", "sweep"},
    "jobs": {
        *("distributions", "forward", "gradients", "sweeper", "weights_file"),
        *("budget", "control", "core", "engine", "iteration", "loading", "model", "naming"),
        *("samples", "storing", "sweep", "weights", "writing"),
    },
    "distributions": {"core", "engine", "model"},
    "reporting": {"core", "report", "weights"},
    "allocator": set(),
    "commands": {
        *("allocator", "console", "core", "exits", "jobs", "processes", "report", "reporting"),
    },
    "cli": {"commands", "core", "exits", "processes"},
    "api": {"core", "jobs", "samples", "weights"},
    "__main__": {"cli"},
    "__init__": {"api", "core"},
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in {path}"
            names.append(node.module or "")
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        first, *rest = name.split(".")
        if first == "lsuv_cli":
            other = rest[0] if rest else "__init__"
            assert other in {here, "__init__"} | MAY_IMPORT[here], f"{here} imports {name}"
        elif first in OWNERS:
            assert here in OWNERS[first], f"{here} imports {first}"
        elif here == "core":
            assert first in PURE | STDLIB_FOR_CORE, f"the core imports {name}"


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.name
)
def test_the_core_knows_no_file_screen_clock_or_global_random_state(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"open", "print", "input"}, called
            assert not called.endswith((".read_text", ".write_text", ".open", ".exists")), called
            if called.startswith("np.random."):
                assert called in {"np.random.Generator", "np.random.Philox"}, called
        assert not isinstance(node, ast.Global), "global state"


def test_every_module_is_in_the_readme_map() -> None:
    readme = (PACKAGE.parent / "README.md").read_text()
    for name in {room(path) for path in MODULES} - {"__init__", "__main__"}:
        assert f"{name}/" in readme or f"{name}.py" in readme, name


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(TESTS_FOLDER)))
def test_no_test_module_is_imported(path: Path) -> None:
    """What several test modules need is in `tests/support`."""
    for name in imports(path):
        assert not any(part.startswith("test_") for part in name.split(".")), name
