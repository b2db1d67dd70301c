"""Finding files: a packed table of the files that a plain search finds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples.files import find_files
from lsuv_cli.samples.formats import FORMATS, format_number
from lsuv_cli.samples.packed_strings import PackedStrings, pack

# Characters before and after the separator, and one that is no UTF-8.
NAMES = st.text(st.sampled_from("a-.0~é\udc80 "), min_size=1, max_size=3).filter(
    lambda name: name.strip(".") != ""  # those would lead out of the temporary folder
)
FILES = st.tuples(NAMES, st.sampled_from((".png", ".npy", ".txt", ".tar", "")))
TREES = st.lists(st.tuples(st.lists(NAMES, max_size=2), FILES, st.integers(0, 3)), max_size=12)


def plain_search(folders: Sequence[Path], outputs: set[Path]) -> list[Path]:
    """Find the same files with a resolved Path for each."""
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
    """Make files, links to earlier files and links to earlier folders; return the files."""
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
            continue  # the name is taken
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


def test_relative_paths_and_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.png", "a/1.png", "a-b/1.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    expected = [Path("a/1.png"), Path("a-b/1.png"), Path("b.png")]
    for patterns in (["."], ["./"], ["**/*.png"], ["*"], ["a-b", "*.png", "./a"]):
        files = find_files(patterns)
        assert list(files) == expected == sorted(expected)
        assert all(files.holds(path) and files.holds(path.resolve()) for path in expected)
    assert list(find_files(["../" + tmp_path.name + "/a"])) == [
        Path("..", tmp_path.name, "a/1.png")
    ]


def test_the_same_files_by_several_patterns_count_once(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c").symlink_to(tmp_path / "a")
    (tmp_path / "0.png").symlink_to(tmp_path / "a" / "2.png")
    patterns = [f"{tmp_path}/*", f"{tmp_path}/c", f"{tmp_path}/a/1.png", f"{tmp_path}/a/../b"]
    assert list(find_files(patterns)) == [
        tmp_path / name for name in ("0.png", "a/../b/3.png", "a/1.png")
    ]


def test_outputs_are_left_out_unless_named(tmp_path: Path) -> None:
    out = tmp_path / "init.safetensors"
    shard = tmp_path / "init-00001-of-00002.safetensors"
    link = tmp_path / "link.safetensors"
    for path in (out, shard, tmp_path / "x.npy"):
        path.touch()
    link.symlink_to(shard)
    assert list(find_files([str(tmp_path)], [out])) == [tmp_path / "x.npy"]
    assert list(find_files([str(tmp_path), str(shard)], [out])) == [shard, tmp_path / "x.npy"]
    assert not find_files([str(tmp_path)], [out]).holds(out)


def test_what_holds_says_of_links(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    inside, outside = tmp_path / "in" / "a.png", tmp_path / "b.png"
    inside.touch()
    outside.touch()
    (tmp_path / "in" / "link.png").symlink_to(outside)
    for name, target in (("to_a.png", inside), ("to_b.png", outside)):
        (tmp_path / name).symlink_to(target)
    files = find_files([str(tmp_path / "in")])
    held = [inside, outside, tmp_path / "to_a.png", tmp_path / "to_b.png"]
    assert all(map(files.holds, held))
    (tmp_path / "hard.png").hardlink_to(inside)
    assert files.holds(tmp_path / "hard.png")
    (tmp_path / "other.png").touch()
    for name in ("other.png", "missing.png", "in"):
        assert not files.holds(tmp_path / name)
    inside.unlink()
    assert not files.holds(tmp_path / "hard.png")


def test_the_formats_of_files(tmp_path: Path) -> None:
    names = ("a.npy", "b.PNG", "c.parquet", "d.tar", "e.txt")
    for name in names:
        (tmp_path / name).touch()
    files = find_files([str(tmp_path), str(tmp_path / "e.txt")])
    suffixes = [FORMATS[number].suffixes for number in files.formats.tolist()]
    assert suffixes[0] == (".npy",)
    assert ".png" in suffixes[1]
    assert suffixes[2:] == [(".parquet",), (".tar",), (".txt",)]
    assert files.first(FORMATS.pictures) == tmp_path / "b.PNG"
    assert files.first(FORMATS.arrays) == tmp_path / "a.npy"
    assert find_files([str(tmp_path / "*.txt")]).first(FORMATS.pictures) is None
    (tmp_path / "x.mp4").touch()
    with pytest.raises(DataError, match="not a type that can be read"):
        find_files([str(tmp_path / "x.mp4")])


@given(st.text(min_size=1, max_size=8).filter(lambda name: "/" not in name and "\0" not in name))
def test_a_format_goes_by_the_suffix_as_pathlib_has_it(stem: str) -> None:
    for suffix in (".png", ".NPY", ".", "png", ""):
        name = stem + suffix
        if name not in {".", ".."}:
            number = format_number(name)
            assert number == FORMATS.by_suffix.get(Path(name).suffix.lower())


@given(st.lists(st.text().filter(lambda text: "\0" not in text), min_size=1))
def test_packed_strings_are_the_strings(strings: list[str]) -> None:
    half = len(strings) // 2
    packed = PackedStrings(pack(strings[:half]) * bool(half) + pack(strings[half:]))
    assert [packed[index] for index in range(len(packed))] == strings
    backwards = packed.take(np.arange(len(strings))[::-1])
    assert [backwards[index] for index in range(len(backwards))] == strings[::-1]
