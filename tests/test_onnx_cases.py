"""Files that other tools write, held against ONNX Runtime on the original file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file

from lsuv_cli.core.choices import Status
from lsuv_cli.core.errors import DataError, ModelError, UsageError
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import (
    InitOptions,
    SampleOptions,
)
from lsuv_cli.core.records import Report
from lsuv_cli.jobs.init import initialize_weights
from support.agreement import hold_to_agree
from support.onnx_cases.batch_axes import CASES as BATCH_AXES
from support.onnx_cases.batch_axes import batch_on_axis_one, fixed_batch_on_axis_one, time_first
from support.onnx_cases.bodies import CASES as BODIES
from support.onnx_cases.case import Make, OnnxCase
from support.onnx_cases.constant_inputs import CASES as CONSTANT_INPUTS
from support.onnx_cases.constant_inputs import integer_given, scalar_given, scalar_input
from support.onnx_cases.constants import CASES as CONSTANTS
from support.onnx_cases.cut_graphs import CASES as CUT_GRAPHS
from support.onnx_cases.fixed_batches import CASES as FIXED_BATCHES
from support.onnx_cases.fixed_batches import (
    condition_per_sample,
    fixed_batch_mixes,
    fixed_batch_of_four,
    samples_averaged,
)
from support.onnx_cases.names_and_ties import CASES as NAMES_AND_TIES
from support.onnx_cases.old_opsets import CASES as OLD_OPSETS
from support.onnx_cases.optimised import CASES as OPTIMISED
from support.onnx_variances import layer_variances

CASES = (
    *CONSTANTS,
    *FIXED_BATCHES,
    *BATCH_AXES,
    *CONSTANT_INPUTS,
    *BODIES,
    *NAMES_AND_TIES,
)
TOLERANCE = 1e-3  # of --tol
OF_SAMPLES = ("feeds", "batch_axes")
ALL_CASES: tuple[Make, ...] = (*CASES, *CUT_GRAPHS, *OLD_OPSETS, *OPTIMISED)


class Listening(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        """Keep a fact."""
        self.said.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.said.append(text)


def _put(folder: Path, case: OnnxCase) -> tuple[Path, Path]:
    model, data = folder / "m.onnx", folder / "x.npz"
    onnx.save(case.model, model)
    np.savez(data, **case.samples)  # type: ignore[arg-type]
    return model, data


def _options(case: OnnxCase, model: Path, data: Path, **more: Any) -> dict[str, Any]:
    given = {**case.options, **more}
    of_samples = {name: given.pop(name) for name in OF_SAMPLES if name in given}
    samples = SampleOptions(data=(str(data),), count=None, **of_samples)
    return {"model": model, "samples": samples, "device": "cpu", **given}


def _initialised(
    folder: Path, case: OnnxCase, **more: Any
) -> tuple[Report, dict[str, Any], list[str]]:
    model, data = _put(folder, case)
    events, out = Listening(), folder / "o.safetensors"
    options = InitOptions(out=out, force=True, **_options(case, model, data, **more))
    return initialize_weights(options, events), load_file(out), events.said


@pytest.mark.parametrize("make", ALL_CASES, ids=lambda make: make.__name__)
def test_every_layer_is_right_in_the_original_file(tmp_path: Path, make: Make) -> None:
    case = make()
    report, written, said = _initialised(tmp_path, case)
    statuses = {one.planned.layer.name: one.status for one in report.layers}
    assert statuses == {**dict.fromkeys(case.layers, Status.CONVERGED), **case.others}
    found = layer_variances(case.model, written, case.batches(), case.layers.values())
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=TOLERANCE)
    for text in case.left_alone:
        assert any(text in one for one in report.left_alone), report.left_alone
    for text in case.said:
        assert any(text in one for one in said), said
    for text in case.unsaid:
        assert not any(text in one for one in said), said


@pytest.mark.parametrize("make", ALL_CASES, ids=lambda make: make.__name__)
def test_other_commands_agree_with_init(tmp_path: Path, make: Make) -> None:
    """The commands agree, and ONNX Runtime finds the weights in the file of `apply`."""
    case = make()
    report, _, _ = _initialised(tmp_path, case)
    model, data, weights = (tmp_path / name for name in ("m.onnx", "x.npz", "o.safetensors"))
    out = tmp_path / "out.onnx"
    hold_to_agree(report, weights, out, _options(case, model, data))
    variances = layer_variances(onnx.load(out), {}, case.batches(), case.layers.values())
    assert variances == pytest.approx(dict.fromkeys(variances, 1.0), abs=TOLERANCE)


REFUSED = [
    ({"feeds": {"gain": [1, 2]}}, "has the shape [2], and the input gain takes one number"),
    ({"feeds": {"rate": 2}}, "no such input to feed; it has x, gain"),
    ({"feeds": {"gain": 1e39}}, "is not finite in float32"),
    ({"feeds": {"x": 1, "gain": 1}}, "none is left to feed"),
    ({"feeds": {"x": [1, 2]}}, "does not fit one sample of the model's input x:?,8"),
    ({"batch_axes": {"x": 2}}, "has 2 axes, the first being 0"),
    ({"batch_axes": {"z": 0}}, "--batch-axis z: the model has no such input"),
    ({}, "has no array for the model's input gain; it has x; give it there, or as --feed gain="),
]


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=lambda value: str(value)[:30])
def test_feeds_that_do_not_fit(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    case = replace(scalar_given(), options=options)
    with pytest.raises((UsageError, DataError)) as caught:
        _initialised(tmp_path, case)
    assert words in str(caught.value)
    assert not (tmp_path / "o.safetensors").exists()


def test_an_integer_input_takes_no_fraction(tmp_path: Path) -> None:
    case = integer_given()
    wrong = {**case.options, "feeds": {"rate": 2.5}}
    with pytest.raises(UsageError, match="is no int64"):
        _initialised(tmp_path, replace(case, options=wrong))


def test_inputs_that_declare_different_numbers_of_samples(tmp_path: Path) -> None:
    case = fixed_batch_on_axis_one()
    with pytest.raises(ModelError, match=r"\(x 2, h 3\).*--batch-axis"):
        _initialised(tmp_path, replace(case, options={}))


def test_fewer_samples_than_the_file_declares(tmp_path: Path) -> None:
    case = fixed_batch_of_four()
    few = {"x": case.samples["x"][:3]}
    with pytest.raises(DataError, match=r"exactly 4 samples at a time.*there are only 3; give 4"):
        _initialised(tmp_path, replace(case, samples=few))


def test_samples_of_different_branches_fed_as_declared(tmp_path: Path) -> None:
    case = condition_per_sample()
    mixed = {"x": case.samples["x"] * np.sign(np.arange(16) - 8.5)[:, None].astype(np.float32)}
    with pytest.raises(ModelError, match="takes 1 at a time, so give samples of one branch"):
        _initialised(tmp_path, replace(case, samples=mixed))


@pytest.mark.parametrize(
    "make",
    [fixed_batch_mixes, samples_averaged, batch_on_axis_one, time_first, scalar_input],
    ids=lambda make: make.__name__,
)
def test_the_batch_size_decides_nothing(tmp_path: Path, make: Make) -> None:
    """Where samples do not mix, and where the file declares how many are fed."""
    case = make()
    found = []
    for size in (1, 3, 16):
        given = replace(case, options={**case.options, "batch_size": size})
        report, written, _ = _initialised(tmp_path, given, verify=False)
        found.append((written, [np.ravel(one.scale) for one in report.layers]))
    (first, scales), *others = found
    for written, other_scales in others:
        np.testing.assert_allclose(other_scales, scales, rtol=1e-6)
        if case.fed:
            assert all(np.array_equal(written[name], first[name]) for name in first)
