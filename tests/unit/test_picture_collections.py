"""Pictures in tar shards and Parquet files, beside those in folders."""

from __future__ import annotations

import builtins
import io
import json
import os
import struct
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples import parquet_rows
from lsuv_cli.samples.files import find_files
from lsuv_cli.samples.open_samples import open_pictures
from lsuv_cli.samples.pictures import Pictures
from lsuv_cli.samples.tar_headers import Member, read_headers
from support.loaded import Loaded, loaded, opened

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1700000000.25  # as WebDataset's writer has it
            archive.addfile(info, io.BytesIO(data))
    return path


def write_table(path: Path, columns: Mapping[str, Any], rows: int = 1 << 20, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path, row_group_size=rows, **more)
    return path


def images(values: Sequence[int]) -> pa.Array:
    return pa.array([{"bytes": png(value), "path": f"{value}.png"} for value in values], IMAGE)


def pictures(*data: Path | str) -> Pictures:
    return open_pictures(find_files(list(map(str, data))))


def value(found: Pictures, index: int) -> int:
    with Image.open(found.open(index)) as image:
        return int(np.asarray(image)[0, 0, 0])


def values(found: Pictures) -> list[int]:
    return [value(found, index) for index in range(len(found))]


def names(found: Pictures) -> list[str]:
    return [found.name(index) for index in range(len(found))]


def load(*data: Path, **options: Any) -> Loaded:
    """Load all samples under some paths."""
    return loaded(opened(*data, **options))


def test_folders_shards_and_tables_are_one_row_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    shard = write_tar(
        tmp_path / "b" / "shard-0.tar",
        {"k2.png": png(1), "k2.cls": b"7", "dir/k1.PNG": png(2), "k3.json": b"{}"},
    )
    (tmp_path / "c.png").write_bytes(png(3))
    table = write_table(tmp_path / "d.parquet", {"image": images([4, 5, 6]), "label": [1, 2, 3]}, 2)
    (tmp_path / "e.png").write_bytes(png(7))
    found = pictures(tmp_path)
    assert values(found) == list(range(8))
    assert names(found) == [
        str(tmp_path / "a.png"),
        f"{shard}: k2.png",
        f"{shard}: dir/k1.PNG",
        str(tmp_path / "c.png"),
        *(f"{table}[{row}]" for row in range(3)),
        str(tmp_path / "e.png"),
    ]
    samples = load(tmp_path)
    assert samples.sources == tuple(names(found))
    np.testing.assert_allclose(samples.feeds["x"][:, 0, 0, 0] * 255, range(8), atol=1e-4)
    some = load(tmp_path, count=3)
    assert (some.count, some.available) == (3, 8)
    assert some.sources == tuple(sorted(some.sources))


def test_brace_patterns(tmp_path: Path) -> None:
    for number in range(11):
        write_tar(tmp_path / f"shard-{number:03}.tar", {"a.png": png(number)})
    assert values(pictures(f"{tmp_path}/shard-{{000..009}}.tar")) == list(range(10))
    assert values(pictures(f"{tmp_path}/shard-{{{{000..002}},010}}.tar")) == [0, 1, 2, 10]
    assert values(pictures(f"{tmp_path}/shard-00{{1,2}}.t*")) == [1, 2]
    with pytest.raises(DataError, match=r"no such data: .*shard-011\.tar"):
        find_files([f"{tmp_path}/shard-{{010..012}}.tar"])
    write_tar(tmp_path / "{a,b}.tar", {"a.png": png(99)})
    assert values(pictures(tmp_path / "{a,b}.tar")) == [99]
    assert values(pictures(f"{tmp_path}/{{a,b}}.t*")) == [99]


MEMBER_NAMES = st.lists(
    st.text(st.sampled_from("abé./\udc80-"), min_size=1, max_size=12)
    .map(lambda name: name.replace("//", "/").strip("/"))
    .flatmap(lambda name: st.sampled_from((name, f"{name * 12}/{name}", f"long{name * 20}")))
    .filter(lambda name: name.strip("/.")),
    min_size=1,
    unique=True,
    max_size=6,
)
FORMATS = st.sampled_from((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))


@settings(deadline=None, max_examples=200)
@given(MEMBER_NAMES, FORMATS, st.data())
def test_headers_are_read_as_tarfile_reads_them(
    member_names: list[str], tar_format: int, data: st.DataObject
) -> None:
    kinds = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.tar")
        with tarfile.open(path, "w", format=tar_format) as archive:
            for name in member_names:
                info = tarfile.TarInfo(name)
                info.type = data.draw(st.sampled_from(kinds))
                info.mtime = data.draw(st.sampled_from((0, 1.5)))
                info.linkname = "elsewhere"
                info.size = data.draw(st.integers(0, 1500)) if info.isreg() else 0
                try:
                    archive.addfile(info, io.BytesIO(bytes(info.size)))
                except ValueError:  # too long a name for this format
                    continue
        with path.open("rb", buffering=0) as file:
            found = list(read_headers(file))
        with tarfile.open(path) as archive:
            expected = [
                Member(info.name, info.offset_data, info.size) for info in archive if info.isreg()
            ]
    assert found == expected


def remarks(*data: Path) -> tuple[list[str], list[str]]:
    files = find_files(list(map(str, data)))
    open_pictures(files)
    return files.remarks.notes, files.remarks.warnings


def test_members_passed_over_are_counted(tmp_path: Path) -> None:
    """Pictures with two suffixes are samples that were lost, unless their key has its own."""
    first = write_tar(
        tmp_path / "a.tar",
        {
            "0.png": png(0),
            "0.cls": b"1",
            "0.seg.png": png(1),
            "1.cls": b"1",
            "1.SEG.PNG": png(1),
            "1.jfif": png(2),
            "2.left.png": png(1),
            "2.right.png": png(1),
            "2.json": b"{}",
            "._2.png": b"",
        },
    )
    second = write_tar(tmp_path / "b.tar", {"0.png": png(0), "c.1.png": png(4)})
    notes, warnings = remarks(first)
    assert [note.split(": ") for note in notes] == [
        [
            f"passed over members of {first} that are no pictures to WebDataset",
            "4 .png, 2 .cls, 1 .json",
        ]
    ]
    assert [one.partition(" in ")[0] for one in warnings] == [
        "2 of the members passed over may be meant as samples, as 2.left.png"
    ]
    notes, warnings = remarks(first, second)
    assert "of 2 shards that are no pictures to WebDataset: 5 .png, 2 .cls, 1 .json" in notes[0]
    assert warnings[0].startswith("3 of the members passed over")
    (warning,) = remarks(second)[1]
    assert f"as c.1.png in {second}: to WebDataset a name's extension begins" in warning
    assert remarks(write_tar(tmp_path / "c.tar", {"a.png": png(0)})) == ([], [])


def test_what_is_wrong_with_a_shard(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_tar(path, {"a.cls": b"1", "b.seg.png": png(0), "._c.png": b"x"})
    with pytest.raises(
        DataError, match=r"no pictures named as WebDataset.*key\.cls, key\.seg\.png"
    ):
        pictures(path)
    write_tar(path, {})
    with pytest.raises(DataError, match="it has nothing"):
        pictures(path)
    write_tar(path, {"a.jpg": png(0), "a.txt": b"", "a.png": png(0)})
    with pytest.raises(DataError, match="several pictures for its sample a,"):
        pictures(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="it has nothing"):
        pictures(path)
    path.write_bytes(b"\x1f\x8bno tar at all")
    with pytest.raises(DataError, match=r"damaged, or no plain tar archive \("):
        pictures(path)
    whole = write_tar(path, {"a.png": png(0), "b.png": bytes(3000)}).read_bytes()
    path.write_bytes(whole[: whole.index(b"b.png") + 512 + 700])
    with pytest.raises(DataError, match=r"cut short: its member b\.png ends after"):
        pictures(path)
    path.write_bytes(whole[: whole.index(b"b.png") + 100])
    with pytest.raises(DataError, match="damaged, or no plain tar"):
        pictures(path)
    path.write_bytes(whole.replace(b"b.png", b"\xff" * 5).replace(b"ustar", b"\xfe" * 5))
    with pytest.raises(DataError, match="damaged, or no plain tar"):
        pictures(path)


def test_columns_of_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    raw = pa.array([png(1), png(2)])
    for column in (raw, raw.cast(pa.large_binary()), images([1, 2])):
        write_table(path, {"key": ["a", "b"], "jpg": column, "label": [0, 1]})
        assert values(pictures(path)) == [1, 2]
    write_table(path, {"digest": pa.array([b"x", b"y"]), "image": images([3, 4])})
    assert values(pictures(path)) == [3, 4]
    write_table(path, {"left": images([1]), "right": pa.array([png(1)])})
    with pytest.raises(DataError, match=r"several columns .* left, right; name the one"):
        pictures(path)
    write_table(path, {"id": [1], "caption": ["a cat"]})
    with pytest.raises(DataError, match=r"no column of pictures.*; it has id, caption"):
        pictures(path)


def test_hugging_faces_metadata_tell_the_column(tmp_path: Path) -> None:
    features = {
        "sound": {"_type": "Audio"},
        "digest": {"dtype": "binary", "_type": "Value"},
        "img": {"_type": "Image"},
    }
    table = pa.table({"sound": images([9]), "digest": pa.array([b"x"]), "img": images([5])})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    assert values(pictures(tmp_path)) == [5]
    pq.write_table(
        table.drop_columns("img").replace_schema_metadata(metadata), tmp_path / "a.parquet"
    )
    opened = pictures(tmp_path).open(0)
    assert isinstance(opened, io.BytesIO)
    assert opened.getvalue() == b"x"


def test_what_is_wrong_with_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_table(tmp_path / "a.parquet", {"image": images([1, 2, 3])})
    whole = path.read_bytes()
    footer = len(whole) - 8 - struct.unpack("<I", whole[-8:-4])[0]
    no_footer = whole[:footer] + b"\xff" * 9 + whole[footer + 9 :]
    for damaged in (b"", b"no table", whole[:-10], whole[: len(whole) // 2], no_footer):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged, or no Parquet file") as caught:
            pictures(path)
        assert "\n" not in str(caught.value)
    write_table(path, {"image": images([])})
    with pytest.raises(DataError, match="holds no pictures"):
        pictures(path)
    write_table(path, {"image": pa.array([None, {"bytes": None, "path": "x"}], IMAGE)})
    found = pictures(path)
    for index in range(2):
        with pytest.raises(
            OSError, match="no bytes in this row; if the table only has paths, give"
        ):
            found.open(index)

    importing = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] in {"pyarrow", "bracex"}:
            raise ImportError(name)
        return importing(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"which pyarrow reads; pip install 'lsuv-cli\[data\]'"):
        pictures(path)
    with pytest.raises(DataError, match=r"need bracex; pip install 'lsuv-cli\[data\]'"):
        pictures(f"{tmp_path}/{{a,b}}.tar")


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_file_that_changes_is_not_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"

    def write(*contents: int) -> None:
        if kind == "tar":
            write_tar(path, {f"{one}.png": png(one) for one in contents})
        else:
            write_table(path, {"image": images(contents)})

    write(1, 2)
    found = pictures(path)
    write(3, 4)
    os.utime(path, ns=(0, 0))
    with pytest.raises(OSError, match="has changed since it was listed"):
        found.open(0)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        found.open(0)
    write(1)
    (tmp_path / "b.png").write_bytes(png(5))
    samples = load(tmp_path)
    assert samples.count == 2


def test_a_shard_that_vanishes_is_skipped_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write_tar(tmp_path / "a.tar", {"1.png": png(1)})
    (tmp_path / "b.png").write_bytes(png(2))

    def opened(files: Any) -> Pictures:
        found = open_pictures(files)
        shard.unlink()
        return found

    monkeypatch.setattr("lsuv_cli.samples.open_samples.open_pictures", opened)
    samples = load(tmp_path)
    assert samples.sources == (str(tmp_path / "b.png"),)
    ((name, reason),) = samples.skipped
    assert name == f"{shard}: 1.png"
    assert "No such file" in reason


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), min_size=1, max_size=3),
    st.booleans(),
    st.integers(1, 3000),
    st.randoms(use_true_random=False),
)
def test_rows_in_any_order_by_several_threads(
    tables: list[tuple[int, int]], in_order: bool, piece_bytes: int, random: Any
) -> None:
    """Each row gives its own bytes, whatever the row groups, the pieces and the order."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_rows, "PIECE_BYTES", piece_bytes)
        patch.setattr(parquet_rows, "PIECES_KEPT", 2)
        expected = []
        for number, (rows, group) in enumerate(tables):
            column = [struct.pack("ii", number, row) * (1 + row % 5) for row in range(rows)]
            write_table(
                Path(folder, f"{number}.parquet"), {"x": pa.array(column, pa.binary())}, group
            )
            expected += column
        if not expected:
            return
        found = pictures(folder)
        indices = list(range(len(expected)))
        if not in_order:
            random.shuffle(indices)

        def read(index: int) -> bytes:
            opened = found.open(index)
            assert isinstance(opened, io.BytesIO)
            return opened.getvalue()

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(read, indices)) == [expected[index] for index in indices]


def test_each_row_group_is_read_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "a.parquet", {"x": pa.array([b"%d" % row for row in range(100)])}, 10)
    write_table(tmp_path / "b.parquet", {"x": pa.array([b"%d" % row for row in range(20)])}, 10)
    monkeypatch.setattr(parquet_rows, "PIECE_BYTES", 8)
    begun = []
    original = parquet_rows._Stream.__init__

    def counting(self: Any, table: Any, group: int, file: Any) -> None:
        begun.append((table.path.name, group))
        original(self, table, group, file)

    monkeypatch.setattr(parquet_rows._Stream, "__init__", counting)
    found = pictures(tmp_path)
    for index in range(0, len(found), 3):
        found.open(index)
    assert begun == [
        *(("a.parquet", group) for group in range(10)),
        *(("b.parquet", group) for group in range(2)),
    ]


def test_what_is_no_picture_inside_a_collection(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"1.png": b"no picture", "2.png": png(2)})
    samples = load(tmp_path)
    assert samples.count == 1
    assert samples.skipped == ((f"{tmp_path / 'a.tar'}: 1.png", "cannot identify image file"),)
