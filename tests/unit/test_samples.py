"""Pictures and arrays: reading, choice and normalisation of samples."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from lsuv_cli.core.errors import DataError, UsageError
from lsuv_cli.core.options import SampleOptions, Size
from lsuv_cli.core.records import InputSpec
from lsuv_cli.samples.files import find_files
from lsuv_cli.samples.heif import lacking_plugin, register_plugin
from lsuv_cli.samples.images import picture_transform, read_picture
from lsuv_cli.samples.passed_over import PassedOver
from lsuv_cli.samples.picture_files import HEIF_SUFFIXES
from lsuv_cli.samples.statistics import normalisation_advice
from support.loaded import RGB, load


def save_picture(path: Path, pixels: np.ndarray, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)
    return path


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_pixels_equal_to_tensors(tmp_path: Path) -> None:
    pixels = noise(8, 8, 3)
    save_picture(tmp_path / "a.png", pixels)
    feed = load(tmp_path).feeds["x"]
    np.testing.assert_array_equal(feed[0], pixels.transpose(2, 0, 1).astype(np.float32) / 255)
    nhwc = InputSpec("x", "float32", (None, 8, 8, 3))
    np.testing.assert_array_equal(load(tmp_path, nhwc).feeds["x"][0], pixels / np.float32(255))
    bytes_wanted = InputSpec("x", "uint8", (None, 8, 8, 3))
    np.testing.assert_array_equal(load(tmp_path, bytes_wanted).feeds["x"][0], pixels)


def test_mean_and_std_by_channel(tmp_path: Path) -> None:
    pixels = noise(8, 8, 3)
    save_picture(tmp_path / "a.png", pixels)
    feed = load(tmp_path, mean=(0.1, 0.2, 0.3), std=(0.5,)).feeds["x"][0]
    expected = (pixels.transpose(2, 0, 1) / 255 - np.array([0.1, 0.2, 0.3])[:, None, None]) / 0.5
    np.testing.assert_allclose(feed, expected, atol=1e-6)
    with pytest.raises(UsageError, match="--std has 2 values"):
        load(tmp_path, std=(1.0, 2.0))


@pytest.mark.parametrize(
    "suffix",
    [
        *(".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm", ".gif", ".jp2", ".j2k", ".avif"),
        *(".jfif", ".jpe", ".JFIF", ".heic", ".hif"),
    ],
)
def test_formats(tmp_path: Path, suffix: str) -> None:
    if suffix in HEIF_SUFFIXES:
        pytest.importorskip("pillow_heif").register_heif_opener()
    ramp = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    save_picture(tmp_path / f"a{suffix}", ramp)
    feed = load(tmp_path).feeds["x"][0]
    np.testing.assert_allclose(feed[0].mean(axis=1), np.linspace(0.055, 0.945, 8), atol=0.03)


def test_modes(tmp_path: Path) -> None:
    """Grey, palette, alpha, CMYK, 16-bit and float pictures come out as the same colour."""
    grey = np.full((8, 8), 51, np.uint8)  # 0.2
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 9)])
    picture = Image.fromarray(grey)
    picture.save(tmp_path / "grey.png")
    picture.convert("P").save(tmp_path / "palette.png")
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    picture.convert("RGB").convert("CMYK").save(tmp_path / "cmyk.tiff")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    Image.fromarray(np.full((8, 8), 0.2, np.float32)).save(tmp_path / "float.tiff")
    feed = load(tmp_path).feeds["x"]
    assert feed.shape == (6, 3, 8, 8)
    np.testing.assert_allclose(feed, 0.2, atol=0.005)
    one = load(tmp_path, InputSpec("x", "float32", (None, 1, 8, 8))).feeds["x"]
    np.testing.assert_allclose(one, 0.2, atol=0.005)
    four = load(tmp_path / "alpha.png", InputSpec("x", "float32", (None, 4, 8, 8))).feeds["x"]
    np.testing.assert_allclose(four[0, 3], 9 / 255, atol=1e-6)
    deep = load(tmp_path / "sixteen.png", InputSpec("x", "float32", (None, 4, 8, 8))).feeds["x"]
    np.testing.assert_allclose(deep[0, :3], 0.2, atol=1e-6)
    np.testing.assert_array_equal(deep[0, 3], 1)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    deep = (np.arange(64, dtype=np.uint16) * 3 + 1000).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "a.png")
    feed = load(tmp_path, InputSpec("x", "float32", (None, 1, 8, 8))).feeds["x"]
    np.testing.assert_allclose(feed[0, 0], deep / 65535, atol=1e-7)


def test_exif_rotation(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to view: the top becomes the right
    save_picture(tmp_path / "a.png", pixels, exif=exif)
    feed = load(tmp_path).feeds["x"][0, 0]
    assert feed[:, 5:].min() == 1
    assert feed[:, :3].max() == 0


def test_default_covers_and_cuts_the_centre(tmp_path: Path) -> None:
    pixels = np.zeros((16, 64, 3), np.uint8)
    pixels[:, 24:40] = 200  # the middle square
    path = save_picture(tmp_path / "a.png", pixels)
    wanted = picture_transform(RGB, None, None)
    # Antialiasing mixes the border into the outermost columns.
    np.testing.assert_allclose(read_picture(path, wanted)[:, :, 1:-1], 200 / 255, atol=1e-6)


def test_resize_and_crop_are_torchvisions(tmp_path: Path) -> None:
    """Resize(12) then CenterCrop(8), computed here with Pillow's own calls."""
    pixels = noise(30, 47, 3)
    path = save_picture(tmp_path / "a.png", pixels)
    wanted = picture_transform(RGB, Size(None, 12), None)
    resized = Image.fromarray(pixels).resize((int(12 * 47 / 30), 12), Image.Resampling.BILINEAR)
    left, top = round((resized.width - 8) / 2), round((12 - 8) / 2)
    expected = np.asarray(resized)[top : top + 8, left : left + 8].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(read_picture(path, wanted), expected, atol=1e-6)
    # By default as Resize(8), which cuts the longer side 12.53 to 12.
    narrow = np.asarray(Image.fromarray(pixels).resize((12, 8), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(
        read_picture(path, picture_transform(RGB, None, None)),
        narrow[:, 2:10].transpose(2, 0, 1) / 255,
        atol=1e-6,
    )
    squashed = picture_transform(RGB, Size(8, 8), None)
    whole = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR)) / 255
    np.testing.assert_allclose(read_picture(path, squashed), whole.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_slivers_do_not_fill_the_memory(tmp_path: Path, size: tuple[int, int]) -> None:
    """Resized whole until it covers the model's size, it would take gigabytes."""
    ramp = np.repeat(np.linspace(0, 255, 60_000, dtype=np.uint8), 3).reshape(*size, 3)
    path = save_picture(tmp_path / "a.png", ramp)
    wanted = picture_transform(InputSpec("x", "float32", (None, 3, 224, 224)), None, None)
    pixels = read_picture(path, wanted)
    assert pixels.shape == (3, 224, 224)
    np.testing.assert_allclose(pixels, 0.5, atol=0.01)


def test_jpeg_draft_scaling_changes_little(tmp_path: Path) -> None:
    """Fine detail stays: a JPEG is decoded larger than its final size."""
    smooth = np.fromfunction(
        lambda y, x, c: 127 + 100 * np.sin(x / 40 + c) * np.cos(y / 30), (512, 512, 3)
    ).astype(np.uint8)
    fine = noise(256, 256, 3) // 8 * 8
    for size, pixels in ((8, smooth), (32, fine), (64, fine)):
        path = save_picture(tmp_path / "a.jpg", pixels, quality=95)
        with Image.open(path) as image:
            full = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) / 255
        spec = InputSpec("x", "float32", (None, 3, size, size))
        drafted = read_picture(path, picture_transform(spec, None, None))
        np.testing.assert_allclose(drafted, full.transpose(2, 0, 1), atol=0.02)
        np.testing.assert_allclose(drafted.std(), full.std(), rtol=0.02)


def test_sizes_the_model_leaves_open() -> None:
    open_spec = InputSpec("x", "float32", (None, 3, None, None))
    with pytest.raises(UsageError, match="--input-shape x:3,224,224"):
        picture_transform(open_spec, None, None)
    assert picture_transform(open_spec, None, Size(None, 20)).shape == (3, 20, 20)
    assert picture_transform(open_spec, Size(10, 20), None).shape == (3, 10, 20)
    with pytest.raises(DataError, match="don't fit"):
        picture_transform(RGB, None, Size(None, 20))


def test_files_are_found_sorted_and_once(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.jpg", "c.PNG", ".hidden.png", ".cache/3.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    expected = [tmp_path / name for name in ("a/1.jpg", "b/2.png", "c.PNG")]
    assert list(find_files([str(tmp_path)])) == expected
    patterns = [str(tmp_path / "**/*.png"), str(tmp_path / "b"), str(tmp_path / "b/2.png")]
    assert tmp_path / "b/2.png" in find_files(patterns)
    assert len(find_files(patterns)) == len(set(find_files(patterns)))


def test_the_choice_depends_on_the_seed_alone(tmp_path: Path) -> None:
    for index in range(30):
        save_picture(tmp_path / f"{index:02}.png", noise(8, 8, 3, seed=index))
    first, again, other = (load(tmp_path, count=10, seed=seed) for seed in (1, 1, 2))
    assert first.sources == again.sources == tuple(sorted(first.sources))
    assert first.sources != other.sources
    assert (first.count, first.available) == (10, 30)
    for source, pixels in zip(first.sources, first.feeds["x"], strict=True):
        expected = noise(8, 8, 3, seed=int(Path(source).stem)).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(pixels, expected, atol=1e-6)


def test_what_cannot_be_read_is_replaced_by_others(tmp_path: Path) -> None:
    for index in range(12):
        save_picture(tmp_path / f"{index:02}.png", noise(8, 8, 3, seed=index))
    for index in range(0, 12, 3):
        (tmp_path / f"{index:02}.png").write_bytes(b"no picture")
    samples = load(tmp_path, count=8)
    assert samples.count == 8
    assert samples.sources == tuple(
        str(tmp_path / f"{index:02}.png") for index in range(12) if index % 3
    )
    for source, pixels in zip(samples.sources, samples.feeds["x"], strict=True):
        expected = noise(8, 8, 3, seed=int(Path(source).stem)).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(pixels, expected, atol=1e-6)
    with pytest.raises(DataError, match="can't read the picture"):
        load(tmp_path, count=8, strict=True)


def test_statistics_are_those_of_the_feed(tmp_path: Path) -> None:
    for index in range(5):
        save_picture(tmp_path / f"{index}.png", noise(8, 8, 3, seed=index))
    samples = load(tmp_path)
    feed, (measured,) = samples.feeds["x"], samples.statistics
    assert measured.mean == pytest.approx(feed.mean(dtype=np.float64))
    assert measured.std == pytest.approx(feed.std(dtype=np.float64))
    np.testing.assert_allclose(measured.channel_mean, feed.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(measured.channel_std, feed.std(axis=(0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("given", [{}, {"mean": (0.1,), "std": (0.2, 0.3, 0.4)}])
def test_the_advice_normalises(tmp_path: Path, given: dict[str, Any]) -> None:
    for index in range(5):
        pixels = (noise(8, 8, 3, seed=index) // [4, 3, 2]).astype(np.uint8)
        save_picture(tmp_path / f"{index}.png", pixels)
    options = SampleOptions(data=(str(tmp_path),), **given)
    samples = load(tmp_path, **given)
    advice = normalisation_advice(samples.statistics[0], options, alone=True)
    words = advice.split()
    mean = tuple(map(float, words[words.index("--mean") + 1].split(",")))
    std = tuple(map(float, words[words.index("--std") + 1].split(",")))
    normalised = load(tmp_path, mean=mean, std=std).statistics[0]
    np.testing.assert_allclose(normalised.channel_mean, 0, atol=1e-2)
    np.testing.assert_allclose(normalised.channel_std, 1, atol=1e-2)
    assert normalisation_advice(normalised, options, alone=True) == ""
    assert "--mean" not in normalisation_advice(samples.statistics[0], options, alone=False)


def test_token_ids_are_not_to_be_normalised(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(40).reshape(8, 5))
    samples = load(tmp_path, InputSpec("ids", "int64", (None, 5)))
    options = SampleOptions(data=(str(tmp_path),))
    assert normalisation_advice(samples.statistics[0], options, alone=True) == ""


def test_masks_are_not_to_be_normalised(tmp_path: Path) -> None:
    options = SampleOptions(data=(str(tmp_path),))
    for high, is_far in ((1, False), (0.75, True)):
        mask = np.where(np.arange(40) % 8 == 0, high, 0).astype(np.float32)
        np.save(tmp_path / "mask.npy", mask.reshape(8, 5))
        samples = load(tmp_path, InputSpec("mask", "float32", (None, 5)))
        assert bool(normalisation_advice(samples.statistics[0], options, alone=True)) is is_far


def test_arrays_in_every_container(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    spec = InputSpec("x", "float32", (None, 5))
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", x=values)
    save_file({"x": values}, tmp_path / "c.safetensors")
    for name in ("a.npy", "b.npz", "c.safetensors"):
        np.testing.assert_array_equal(load(tmp_path / name, spec).feeds["x"], values)
    single = tmp_path / "single"
    single.mkdir()
    for index, row in enumerate(values):
        np.save(single / f"{index}.npy", row.astype(np.float64))
    feed = load(single, spec).feeds["x"]
    assert feed.dtype == np.float32
    np.testing.assert_array_equal(feed, values)


def test_rows_are_chosen_across_files(tmp_path: Path) -> None:
    spec = InputSpec("x", "float32", (None, 1))
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", np.arange(10.0)[:, None] + 10 * index)
    samples = load(tmp_path, spec, count=7)
    chosen = samples.feeds["x"][:, 0].tolist()
    assert chosen == sorted(chosen)
    assert len(set(chosen)) == 7
    assert samples.available == 30
    assert samples.sources[0] == f"{tmp_path / str(int(chosen[0]) // 10)}.npy[{chosen[0] % 10:.0f}]"


def test_several_inputs(tmp_path: Path) -> None:
    specs = (InputSpec("a", "float32", (None, 2)), InputSpec("ids", "int64", (None, 3)))
    a, ids = np.ones((4, 2), np.float32), np.arange(12).reshape(4, 3)
    np.savez(tmp_path / "s.npz", a=a, ids=ids, unused=np.zeros(1))
    feeds = load(tmp_path, *specs, mean=(1.0,)).feeds
    np.testing.assert_array_equal(feeds["a"], a - 1)
    np.testing.assert_array_equal(feeds["ids"], ids)
    np.savez(tmp_path / "s.npz", a=a, ids=ids[:2])
    with pytest.raises(DataError, match="different numbers of samples"):
        load(tmp_path, *specs)


def test_bfloat16_arrays(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(6, 5)).astype(ml_dtypes.bfloat16)
    save_file({"x": values}, tmp_path / "a.safetensors")
    spec = InputSpec("x", "float32", (None, 5))
    np.testing.assert_array_equal(load(tmp_path, spec).feeds["x"], values.astype(np.float32))


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"])
def test_types_that_numpy_lacks(tmp_path: Path, kind: str) -> None:
    values = np.ones((6, 5), getattr(ml_dtypes, kind))
    save_file({"x": values}, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match=r"x holds F8_E\w+, not a type such as float32; write it"):
        load(tmp_path, InputSpec("x", "float32", (None, 5)))


def test_arrays_that_no_input_takes_are_not_read(tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(6, 5)
    spec = InputSpec("x", "float32", (None, 5))
    np.savez(tmp_path / "a.npz", x=values, classes=np.array(["cat", None], object))
    np.testing.assert_array_equal(load(tmp_path, spec).feeds["x"], values)
    (tmp_path / "a.npz").unlink()
    eighth = np.zeros(3, ml_dtypes.float8_e4m3fn)
    save_file({"x": values, "y": eighth}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(load(tmp_path, spec).feeds["x"], values)


def test_damaged_arrays(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    np.save(tmp_path / "array.npy", values)
    np.savez_compressed(tmp_path / "archive.npz", x=values)
    array = (tmp_path / "array.npy").read_bytes()
    archive = (tmp_path / "archive.npz").read_bytes()
    begin = archive.index(b"x.npy") + 40
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as member:
        member.writestr("x.npy", "no array")
    for name, content in (
        ("archive as array.npy", archive),
        ("array as archive.npz", array),
        ("no array.npy", b"no array" * 20),
        ("header cut.npy", array.replace(b"}", b" ")),
        ("half.npy", array[: len(array) // 2]),
        ("text member.npz", text.getvalue()),
        ("empty.npy", b""),
        ("spoilt.npz", archive[:begin] + b"\xff" * 60 + archive[begin + 60 :]),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(
            DataError, match=r"can't read the arrays in .*; write it again"
        ) as caught:
            load(path, InputSpec("x", "float32", (None, 5)))
        assert "pickle" not in str(caught.value)
        path.unlink()


def test_token_ids_in_text(tmp_path: Path) -> None:
    ids = np.arange(12).reshape(4, 3)
    spec = InputSpec("ids", "int64", (None, None))
    lines = [" ".join(map(str, row)) for row in ids]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n\n")
    (tmp_path / "b.txt").write_text("\n".join(line.replace(" ", ", ") for line in lines))
    (tmp_path / "c.jsonl").write_text("\n".join(map(str, ids.tolist())))
    named = [f'{{"ids": {row}, "mask": [1]}}' for row in ids.tolist()]
    (tmp_path / "d.jsonl").write_text("\n".join(named))
    for name in ("a.txt", "b.txt", "c.jsonl", "d.jsonl"):
        feed = load(tmp_path / name, spec).feeds["ids"]
        assert feed.dtype == np.int64
        np.testing.assert_array_equal(feed, ids)
    both = load(tmp_path / "d.jsonl", spec, InputSpec("mask", "int64", (None, 1))).feeds
    np.testing.assert_array_equal(both["mask"], np.ones((4, 1)))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_text_may_begin_with_a_mark(tmp_path: Path, name: str) -> None:
    spec = InputSpec("ids", "int64", (None, None))
    text = "1, 2\n3, 4\n" if name == "a.txt" else "[1, 2]\n[3, 4]\n"
    path = tmp_path / name
    path.write_text(text, encoding="utf-8-sig")
    np.testing.assert_array_equal(load(path, spec).feeds["ids"], [[1, 2], [3, 4]])
    for encoding, called in (("utf-16", "UTF-16"), ("utf-32", "UTF-32")):
        path.write_text(text, encoding=encoding)
        with pytest.raises(DataError, match=rf"{name}: it is {called}; save it as UTF-8"):
            load(path, spec)


def test_lists_may_begin_with_a_mark(tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "a.png", noise(8, 8, 3))
    path = tmp_path / "list"
    path.write_text(f"{picture}\n", encoding="utf-8-sig")
    assert list(find_files([f"@{path}"])) == [picture]
    path.write_text(f"{picture}\0", encoding="utf-8-sig")
    assert list(find_files([f"@{path}"])) == [picture]
    path.write_text(f"{picture}\n", encoding="utf-16")
    with pytest.raises(DataError, match="the list can't be read: it is UTF-16; save it as UTF-8"):
        find_files([f"@{path}"])


@pytest.mark.parametrize(
    ("given", "wanted", "words"),
    [
        ((4, 5, 6, 3), (None, 3, 5, 6), r"are last; save array\.transpose\(0, 3, 1, 2\) instead"),
        ((5, 6, 3), (None, 3, None, None), r"are last; save array\.transpose\(2, 0, 1\) instead"),
        ((4, 3, 5, 6), (None, 5, 6, 3), r"are first; save array\.transpose\(0, 2, 3, 1\) instead"),
        ((4, 9, 2), (None, 2, 9), r"are last; save array\.transpose\(0, 2, 1\) instead"),
        ((4, 9, 2), (None, 3, 9), r"\(\? is any size"),
    ],
)
def test_channels_in_another_place(
    tmp_path: Path, given: tuple[int, ...], wanted: tuple[int | None, ...], words: str
) -> None:
    np.save(tmp_path / "a.npy", np.zeros(given, np.float32))
    with pytest.raises(DataError, match=words):
        load(tmp_path / "a.npy", InputSpec("x", "float32", wanted))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_numbers_too_large_for_the_input(tmp_path: Path, dtype: str) -> None:
    values = np.full((2, 5), {"float32": 1e39, "float16": 1e5}[dtype])
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", x=values)
    for name in ("a.npy", "b.npz"):
        with pytest.raises(DataError, match=rf"{name}\[0\].* too large for {dtype}"):
            load(tmp_path / name, InputSpec("x", dtype, (None, 5)))


def test_arrays_of_objects(tmp_path: Path) -> None:
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros(3), np.zeros(4)]
    np.save(tmp_path / "a.npy", ragged, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=ragged)
    np.save(tmp_path / "c.npy", np.array([None, 1.0]), allow_pickle=True)
    for name in ("a.npy", "b.npz", "c.npy"):
        with pytest.raises(DataError, match="in one shape, numbers only"):
            load(tmp_path / name, InputSpec("x", "float32", (None, 5)))


@pytest.mark.parametrize("is_zip", [True, False])
def test_tensors_by_torch_save(tmp_path: Path, is_zip: bool) -> None:
    values = torch.arange(10, dtype=torch.float32).reshape(2, 5)
    spec = InputSpec("x", "float32", (None, 5))
    path = tmp_path / "a.pt"
    contents: tuple[Any, ...] = (
        values,
        {"x": values},
        {"x": values.double(), "y": torch.zeros(1, dtype=torch.float8_e4m3fn)},
        torch.nn.Parameter(values),
        {"x": values.bfloat16()},
    )
    # PyTorch can't read float8 from files of the old format.
    for content in contents if is_zip else [*contents[:2], *contents[3:]]:
        torch.save(content, path, _use_new_zipfile_serialization=is_zip)
        np.testing.assert_array_equal(load(path, spec).feeds["x"], values.numpy())


def test_files_by_torch_save_that_are_no_samples(tmp_path: Path) -> None:
    spec = InputSpec("x", "float32", (None, 5))
    path = tmp_path / "a.pt"
    for content, words in (
        ({"x": [1, 2]}, "x is a list, not a tensor"),
        (3, "it is a int, not a tensor"),
        (torch.zeros(2, 5).to_sparse(), "the tensor is sparse"),
        ({"x": torch.zeros(2, 5, dtype=torch.float8_e5m2)}, r"x is torch\.float8_e5m2"),
        (Path("x"), "pickled"),
        (torch.nn.Linear(2, 2), r"a whole pickled module \(torch\.nn\.modules\.linear\.Linear\)"),
    ):
        torch.save(content, path)
        with pytest.raises(DataError, match=rf"can't read the arrays in .*{words}"):
            load(path, spec)
    torch.save(torch.zeros(2, 5), path)
    whole = path.read_bytes()
    for damaged in (whole[:300], b"", b"no file by torch.save", whole.replace(b"torch", b"\0" * 5)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged, or no file of tensors alone"):
            load(path, spec)
    torch.save(torch.zeros(2, 3, 8, 8), path)
    save_picture(tmp_path / "b.png", noise(8, 8, 3))
    assert list(find_files([str(tmp_path)])) == [tmp_path / "b.png"]


def test_notes_in_a_folder_are_no_tokens(tmp_path: Path) -> None:
    save_picture(tmp_path / "a.png", noise(8, 8, 3))
    (tmp_path / "labels.txt").write_text("1 2 3")
    assert load(tmp_path).count == 1


def test_files_of_other_types_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.jfif", "deep/c.JPE"):
        path = tmp_path / name
        save_picture(path, noise(8, 8, 3), format="PNG")
    others = [*(f"deep/{n}.csv" for n in range(3)), "x.mp4", "README", "y.mp4", "labels.txt"]
    for name in (*others, ".hidden.csv"):
        (tmp_path / name).touch()
    expected = ["passed over 7 files of other types: 3 .csv, 2 .mp4, 1 .txt, 1 without a suffix"]
    # Each once, however often a folder is named.
    for data in ([tmp_path], [tmp_path, tmp_path / "deep"], [f"{tmp_path}/*"]):
        found = find_files(list(map(str, data)))
        assert len(found) == 3
        assert [sorted_kinds(note) for note in found.remarks.notes] == list(
            map(sorted_kinds, expected)
        )
        assert not found.remarks.warnings
    assert not find_files([f"{tmp_path}/*.png"]).remarks.notes
    with pytest.raises(DataError, match=r"no sample files .*; found 3 \.csv"):
        find_files([f"{tmp_path}/deep/*.csv"])


def sorted_kinds(text: str) -> tuple[str, list[str]]:
    """Return a count of types, those of one number in the order of the alphabet."""
    before, _, kinds = text.partition(": ")
    return before, sorted(kinds.split(", "))


def test_names_that_all_end_differently_are_counted_in_little_memory() -> None:
    passed = PassedOver()
    for number in range(1000):
        passed.add(f"log.{number}")
    passed.add("a.gif")
    passed.add("b.gif")
    assert passed.total == 1002
    assert len(passed.kinds) <= 101
    assert passed.describe() == "1 .0, 1 .1, 1 .2, 1 .3, 1 .4, 997 others"


def test_heic_without_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder it is passed over, with what reads it; by itself it is refused."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr("lsuv_cli.samples.heif.find_spec", lambda _name: None)
    lacking_plugin.cache_clear()
    register_plugin.cache_clear()
    save_picture(tmp_path / "a.png", noise(8, 8, 3))
    for name in ("b.heic", "c.HEIC", "d.hif"):
        (tmp_path / name).write_bytes(b"....ftypheic")
    found = find_files([str(tmp_path)])
    assert [path.name for path in found] == ["a.png"]
    (warning,) = found.remarks.warnings
    assert (
        "passed over 3 files of other types: 2 .heic, 1 .hif; to read .heic, .hif: pip" in warning
    )
    with pytest.raises(
        DataError, match=r"b\.heic is a HEIF picture.*pip install 'lsuv-cli\[heic\]'"
    ):
        load(tmp_path / "b.heic")
    lacking_plugin.cache_clear()
    register_plugin.cache_clear()
