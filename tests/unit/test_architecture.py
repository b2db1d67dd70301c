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
    "difflib",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "math",
    "pathlib",
    "re",
    "typing",
}
OWNERS = {
    "typer": {"cli"},
    "rich": {"cli", "report"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "onnx": {"graph", "passes", "reading", "layers", "names", "instrument", "memory", "weights"},
    "onnxruntime": {"runtime"},
    "PIL": {"samples"},
    "pillow_heif": {"samples"},
    "bracex": {"samples"},
    "pyarrow": {"samples"},
    "safetensors": {"samples", "weights"},
    "onnx2fx": {"engine"},
    "threadpoolctl": {"weights"},
    "torch": {"api", "engine", "graph", "processes", "reading", "samples", "weights"},
    "google": {"graph", "reading", "weights"},
}

# Each folder may import those before it, and nothing behind it.
ORDER = (
    "core",
    "graph",
    "runtime",
    "samples",
    "report",
    "processes",
    "passes",
    "reading",
    "layers",
    "names",
    "instrument",
    "memory",
    "weights",
    "engine",
    "jobs",
    "api",
    "cli",
    "__main__",
)
LOOSE = {"__init__", "__main__"}


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
            if other != "__init__" and here != "__init__":
                assert ORDER.index(other) <= ORDER.index(here), f"{here} imports {name}"
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


def test_no_module_is_loose() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == LOOSE
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == (
        set(ORDER) - LOOSE
    )


def test_every_module_is_in_the_readme_map() -> None:
    readme = (PACKAGE.parent / "README.md").read_text()
    for name in {room(path) for path in MODULES} - {"__init__", "__main__"}:
        assert f"{name}/" in readme or f"{name}.py" in readme, name


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(TESTS_FOLDER)))
def test_no_test_module_is_imported(path: Path) -> None:
    """What several test modules need is in `tests/support`."""
    for name in imports(path):
        assert not any(part.startswith("test_") for part in name.split(".")), name
