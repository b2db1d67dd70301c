"""A new format of weights: what its file in `weights` and its line in the table are enough for."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import ApplyOptions, InitOptions, SampleOptions
from lsuv_cli.jobs.apply import apply_weights
from lsuv_cli.jobs.init import initialize_weights
from lsuv_cli.weights import formats
from lsuv_cli.weights.formats import open_checkpoint
from lsuv_cli.weights.weights_format import WeightsFormat
from support.sample_files import save_samples
from support.small_models import small_model


def documented_format() -> WeightsFormat:
    """Return the format that the record's docstring defines."""
    names: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(WeightsFormat.__doc__ or ""):
        exec(example.source, names)
    found: WeightsFormat = names["NPZ"]
    return found


@pytest.fixture
def npz(monkeypatch: pytest.MonkeyPatch) -> WeightsFormat:
    npz = documented_format()
    monkeypatch.setattr(formats, "FORMATS", (npz, *formats.FORMATS))
    return npz


def initialized(model: Path, data: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Initialise a model, and return the tensors of the written checkpoint."""
    samples = SampleOptions(data=(str(data),))
    report = initialize_weights(
        InitOptions(model=model, out=out, samples=samples, **options), Silent()
    )
    files = [Path(name) for name in report.files if not name.endswith(".json")]
    assert report.bytes_written == sum(file.stat().st_size for file in files)
    return dict(open_checkpoint(out))


def test_a_registered_format_is_written_by_its_suffix(tmp_path: Path, npz: WeightsFormat) -> None:
    model, data = small_model(tmp_path / "m.onnx"), save_samples(tmp_path, (3, 8, 8))
    usual = initialized(model, data, tmp_path / "w.safetensors")
    written = initialized(model, data, tmp_path / "w.npz")
    assert dict(np.load(tmp_path / "w.npz")).keys() == written.keys() == usual.keys()
    for name, value in usual.items():
        assert_array_equal(written[name], value)


def test_its_shards_are_written_and_applied(tmp_path: Path, npz: WeightsFormat) -> None:
    model, data = small_model(tmp_path / "m.onnx"), save_samples(tmp_path, (3, 8, 8))
    usual = initialized(model, data, tmp_path / "w.safetensors")
    sharded = initialized(model, data, tmp_path / "s.npz", max_shard_bytes=512)
    assert len(list(tmp_path.glob("s-0000?-of-0000?.npz"))) > 1
    assert (tmp_path / "s.npz.index.json").exists()
    for name, value in usual.items():
        assert_array_equal(sharded[name], value)
    for name in ("w.safetensors", "s.npz"):
        out = tmp_path / f"{name}.onnx"
        apply_weights(ApplyOptions(model=model, weights=tmp_path / name, out=out), Silent())
    assert (tmp_path / "s.npz.onnx").read_bytes() == (tmp_path / "w.safetensors.onnx").read_bytes()


def test_without_its_line_the_suffix_is_refused(tmp_path: Path) -> None:
    model, data = small_model(tmp_path / "m.onnx"), save_samples(tmp_path, (3, 8, 8))
    with pytest.raises(UsageError, match=r"what is written is safetensors, and .npz stands for"):
        initialized(model, data, tmp_path / "w.npz")
