"""Finding files: what a plain search finds, but packed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples.files import find_files

# Characters before and after the separator, and one that is no UTF-8.
NAMES = st.text(st.sampled_from("a-.0~é\udc80 "), min_size=1, max_size=3)
FILES = st.tuples(NAMES, st.sampled_from((".png", ".npy", ".txt", ".tar", "")))
TREES = st.lists(st.tuples(st.lists(NAMES, max_size=2), FILES, st.integers(0, 3)), max_size=12)


def plain_search(folders: Sequence[Path], outputs: set[Path]) -> list[Path]:
    """The same by a Path for every file, each resolved."""
    once: dict[Path, Path] = {}
    for path in sorted(path for folder in folders for path in walk(folder)):
        real = path.resolve()
        if real not in outputs:
            once.setdefault(real, path)
    return list(once.values())


def walk(folder: Path) -> Iterator[Path]:
    visited = set()
    for root, subfolders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(root) in visited:
            subfolders.clear()
            continue
        visited.add(os.path.realpath(root))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            path = Path(root, name)
            known = path.suffix in {".png", ".npy", ".tar"}
            if known and not name.startswith(".") and path.is_file():
                yield path


def grow(root: Path, tree: Sequence[tuple[list[str], tuple[str, str], int]]) -> list[Path]:
    """Make files, links to earlier files and links to earlier folders; returns the files."""
    made: list[Path] = []
    for folders, (stem, suffix), kind in tree:
        path = root.joinpath(*folders, stem + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == 0 and made:
                path.symlink_to(made[len(made) // 2])
            elif kind == 1 and made:
                path.symlink_to(made[-1].parent)
            else:
                path.touch(exist_ok=False)
                made.append(path)
        except OSError:
            continue  # the name is taken, or is "." or ".."
    return made


@settings(deadline=None, max_examples=200)
@given(TREES, TREES, st.booleans())
def test_the_same_files_as_a_plain_search(
    first: list[tuple[list[str], tuple[str, str], int]],
    second: list[tuple[list[str], tuple[str, str], int]],
    both: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        made = grow(root, [*first, *second])
        inner = next((path.parent for path in made), root)
        folders = [inner, root] if both else [root]
        outputs = set(made[:1])
        expected = plain_search(folders, outputs)
        if not expected:
            with pytest.raises(DataError, match="no sample files"):
                find_files(list(map(str, folders)), outputs)
            return
        files = find_files(list(map(str, folders)), outputs)
        assert list(files) == expected == files[:]
        assert files[-1] == expected[-1]
        for path in made:
            held = any(path.exists() and path.samefile(one) for one in expected)
            assert files.holds(path) == held
