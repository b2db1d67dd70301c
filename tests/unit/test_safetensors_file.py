"""The streaming writer against the reference library."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from lsuv_cli.core.errors import OutputError
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.weights.atomic_files import replacing_file
from lsuv_cli.weights.output_checks import check_output, refuse_overwriting
from lsuv_cli.weights.safetensors_file import SafetensorsWriter

Tensors = dict[str, NDArray[Any]]
DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def written(tensors: Tensors, metadata: dict[str, str]) -> bytes:
    infos = {name: TensorInfo(t.shape, t.dtype) for name, t in tensors.items()}
    file = io.BytesIO()
    writer = SafetensorsWriter(file, Path(), infos, metadata)
    for name, tensor in tensors.items():
        writer.put(name, tensor)
    return file.getvalue()


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
names = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12)


@given(st.dictionaries(names, st.tuples(shapes, st.sampled_from(DTYPES)), max_size=8), st.data())
@settings(max_examples=150)
def test_byte_identical_to_the_reference_writer(
    kinds: dict[str, tuple[tuple[int, ...], type]], data: st.DataObject
) -> None:
    kinds.pop("__metadata__", None)
    rng = np.random.default_rng(len(kinds))
    tensors: Tensors = {n: rng.normal(size=s).astype(d) for n, (s, d) in kinds.items()}
    metadata = {"format": "pt"} if data.draw(st.booleans()) else {}
    content = written(tensors, metadata)
    assert content == save(tensors, metadata or None)
    shuffled = dict(data.draw(st.permutations(list(tensors.items()))))
    assert written(shuffled, metadata) == content


def test_tensors_may_be_put_again_and_the_header_changed() -> None:
    tensors: Tensors = {name: np.full(3, i, np.float32) for i, name in enumerate("abc")}
    file = io.BytesIO()
    infos = {name: TensorInfo(t.shape, t.dtype) for name, t in tensors.items()}
    writer = SafetensorsWriter(file, Path(), infos, {"format": "no"})
    for name in "cabca":
        writer.put(name, tensors[name] if name != "b" else np.zeros(3, np.float32))
    writer.put("b", tensors["b"])
    writer.set_metadata({"format": "pt"})
    assert file.getvalue() == save(tensors, {"format": "pt"})
    with pytest.raises(AssertionError, match="move"):
        writer.set_metadata({"format": "much longer than before"})
    with pytest.raises(AssertionError, match="not what the header says"):
        writer.put("a", np.zeros(4, np.float32))


def test_metadata_is_sorted() -> None:
    tensors: Tensors = {"w": np.zeros(2, np.float32)}
    one, two = {str(i): "v" for i in range(9)}, {str(i): "v" for i in reversed(range(9))}
    assert written(tensors, one) == written(tensors, two)
    assert load(written(tensors, one))["w"].shape == (2,)


def test_views_are_written_as_they_look() -> None:
    base = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(load(written({"w": base.T}, {}))["w"], base.T)


def test_replacing_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")

    def fail_midway() -> None:
        with replacing_file(target, force=True) as (file, _):
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_midway()
    assert target.read_bytes() == b"old"
    with replacing_file(target, force=True) as (file, _):
        file.write(b"new")
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_target_made_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def lose_the_race() -> None:
        with replacing_file(target, force=False) as (file, _):
            file.write(b"mine")
            target.write_bytes(b"theirs")

    with pytest.raises(OutputError, match="exists already"):
        lose_the_race()
    assert target.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [target]


def test_permissions_are_those_of_a_new_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    with replacing_file(tmp_path / "out", force=False) as (file, _):
        file.write(b"x")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_outputs_are_checked_beforehand(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.touch()
    (tmp_path / "link").symlink_to(model)
    check_output(tmp_path / "new", force=False)
    refuse_overwriting(tmp_path / "new", "the model", [model])
    for target in (model, tmp_path / "link"):
        with pytest.raises(OutputError, match="is the model itself"):
            refuse_overwriting(target, "the model", [tmp_path / "other", model])
    for target, words in [
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "out", "does not exist"),
        (Path("/dev/null"), "not a regular file"),
    ]:
        with pytest.raises(OutputError, match=words):
            check_output(target, force=True)
    (tmp_path / "old").touch()
    with pytest.raises(OutputError, match="--force"):
        check_output(tmp_path / "old", force=False)
