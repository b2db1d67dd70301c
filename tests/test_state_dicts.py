"""Exit code 0 promises a file that loads strictly: modules whose state_dict is easily lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import nn

from support.layer_outputs import LAYERS, off_target, outputs_by_layer
from support.promise import Initialised, initialised, load_strictly
from support.roads import ROADS, Inputs, by_road, road_marks, save_samples, silenced
from support.state_cases import CASES

REMEDIES = {
    "folded": "training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False",
    "dynamo": "dynamo=True, optimize=False",
}
Files = Callable[[str, str], tuple[Path, Path]]


def cases(*names: str, roads: tuple[str, ...] = tuple(ROADS)) -> list[Any]:
    """Return the names of cases, each with the roads that are open to it."""
    return [
        pytest.param(name, road, id=f"{name}-{road}", marks=road_marks(name, road, taken))
        for name in names or CASES
        for taken in [[one for one in roads if one not in CASES[name].closed]]
        for road in taken
    ]


def made(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return CASES[name].make().eval()


def samples(name: str) -> Inputs:
    torch.manual_seed(7)
    return CASES[name].inputs()


@pytest.fixture
def files(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Files:
    """Writes a case by a road, once for all processes of a test run, into the test's folder."""
    root = tmp_path_factory.getbasetemp().parent / f"state-cases-{testrun_uid}"

    def put(name: str, road: str) -> tuple[Path, Path]:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            written = [path for path in folder.glob(f"{road}.*") if path.suffix in {".onnx", ".pt"}]
            with silenced():
                if not written:
                    written = [by_road(made(name), samples(name), road, folder)]
        model = tmp_path / written[0].name
        model.hardlink_to(written[0])
        return model, save_samples(model, samples(name))

    return put


@pytest.mark.parametrize(("name", "road"), cases())
def test_what_is_written_loads_strictly_or_nothing_is(files: Files, name: str, road: str) -> None:
    case = CASES[name]
    run = initialised(*files(name, road))
    if road in case.refused:
        assert run.code == 3, run.texts
        assert case.refused[road] in run.texts[-1]
        assert REMEDIES[road] in run.texts[-1]
        assert "--names onnx" in run.texts[-1]
        assert not any(text.startswith("input ") for text in run.texts)  # before it measures
        return
    assert run.code == 0, run.texts
    if road in case.warned:
        assert any(case.warned[road] in text for text in run.texts), run.texts
        return
    doubtful = case.doubtful if road == "trace" else ()
    assert_right(name, run, passed_over=doubtful)
    warnings = [text for text in run.texts if text.startswith("warning: ")]
    assert len(warnings) == bool(doubtful), warnings
    assert all(buffer in warnings[0] for buffer in doubtful)


@pytest.mark.parametrize(("name", "road"), cases(roads=("trace", "script")))
def test_what_is_written_for_a_checkpoint_is_what_it_has(
    files: Files, tmp_path: Path, name: str, road: str
) -> None:
    torch.save(made(name).state_dict(), tmp_path / "like.pt")
    run = initialised(*files(name, road), like=tmp_path / "like.pt")
    assert run.code == 0, run.texts
    assert_right(name, run)
    assert not any(text.startswith("warning: ") for text in run.texts), run.texts


def assert_right(name: str, run: Initialised, passed_over: tuple[str, ...] = ()) -> None:
    """Check the strict load, what must not change bit for bit, and the layers' variances."""
    unknown = [key for key in passed_over if key not in made(name).state_dict()]
    module = load_strictly(run, lambda: made(name, 1), unknown)
    before, after = made(name).state_dict(), module.state_dict()
    layers = [key for key, one in module.named_modules() if isinstance(one, LAYERS)]
    own = dict(module.named_parameters(remove_duplicate=False))
    drawn = {id(value) for key, value in own.items() if key.rpartition(".")[0] in layers}
    for key in before:
        measured = "running_" in key or key.endswith(("_bias", "biases"))
        if id(own.get(key)) not in drawn and not measured:
            assert torch.equal(before[key], after[key]), key
    outputs = outputs_by_layer(module, samples(name))
    assert not off_target(outputs, passed_over=CASES[name].shared)
