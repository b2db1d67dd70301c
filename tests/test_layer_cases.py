"""Layers that are easily missed, by every road: what exit code 0 promises, seen from PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

from lsuv_cli.core.choices import Bias, Per, Status
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import SampleOptions, VerifyOptions
from lsuv_cli.jobs.verify import verify_weights
from support.accounting import products, unaccounted
from support.layer_cases.case import LayerCase
from support.layer_cases.table import CASES
from support.layer_outputs import TOLERANCE, off_target, outputs_by_layer
from support.promise import Initialised, initialised, load_strictly
from support.roads import ROADS, Inputs, by_road, road_marks, save_samples, silenced

UNSCALABLE = [name for name, case in CASES.items() if "unscalable" in case.statuses.values()]
SCALED = ("equalised_rate", "weight_normalised", "low_rank", "standardised-gain", "masked-pruned")
OPTIONS: dict[str, dict[str, Any]] = {
    "per channel": {"per": Per.CHANNEL},
    "bias keep": {"bias": Bias.KEEP},
    "bias center": {"bias": Bias.CENTER},
    "target": {"target_std": 2.0},
}
SUFFIXES = frozenset((".onnx", ".pt", ".pt2", ".py"))
ALL_ROADS = (*ROADS, "module")
FACTORY = """import torch
from support.layer_cases.table import CASES
from support.roads import silenced


def make():
    torch.manual_seed(0)
    with silenced():
        return CASES[{name!r}].make().eval()
"""
Exported = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, testrun_uid: str) -> Exported:
    """Writes a case by a road, once for all processes of a test run."""
    root = tmp_path_factory.getbasetemp().parent / f"layer-cases-{testrun_uid}"

    def export(name: str, road: str) -> Path:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            written = [path for path in folder.glob(f"{road}.*") if path.suffix in SUFFIXES]
            if not written and road == "module":
                written = [folder / "module.py"]
                written[0].write_text(FACTORY.format(name=name))
            return written[0] if written else by_road(made(name), samples(name), road, folder)

    return export


@pytest.fixture
def files(tmp_path: Path, exported: Exported) -> Callable[[str, str], tuple[Path, Path]]:
    """Puts a case's model and samples into a folder of the test's own."""

    def put(name: str, road: str) -> tuple[Path, Path]:
        shared = exported(name, road)
        model = tmp_path / shared.name
        model.hardlink_to(shared)
        if model.suffix == ".py":
            model = Path(f"{model}:make")
        return model, save_samples(model, samples(name))

    return put


Files = Callable[[str, str], tuple[Path, Path]]


def made(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    with silenced():  # some of PyTorch's own are deprecated
        return CASES[name].make().eval()


def samples(name: str) -> Inputs:
    torch.manual_seed(7)
    return CASES[name].inputs()


def open_roads(name: str, roads: Sequence[str]) -> list[str]:
    """Return those of some roads that PyTorch can take a case by."""
    return [road for road in roads if road not in CASES[name].closed]


def cases(*names: str, roads: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> list[Any]:
    """Return the parameters (name, road, *more) of a test."""
    return [
        pytest.param(
            name,
            road,
            *more,
            id="-".join((name, road, *more)),
            marks=road_marks(name, road, taken),
        )
        for name in names or CASES
        for taken in [open_roads(name, roads or ALL_ROADS)]
        for road in taken
    ]


@pytest.mark.parametrize(("name", "road"), cases())
def test_promise_is_kept(files: Files, name: str, road: str) -> None:
    case = CASES[name]
    model, data = files(name, road)
    run = initialised(model, data)
    if run.code == 3:
        assert road in case.refused, run.texts
        assert case.refused[road] in run.texts[-1]
        return
    if road in case.doubted:
        assert any(case.doubted[road] in text for text in run.texts), run.texts
        return
    untold = [layer for layer, roads in case.fixed.items() if road in roads]
    if untold:
        if case.looks_made:
            assert all(has_advice(run, layer) for layer in untold), run.texts
        run = initialised(model, data, exclude=tuple(f"{layer}*" for layer in untold))
    assert run.code == case.code, run.texts
    expected = expected_statuses(case, road)
    check_statuses(name, run, expected)
    module = load_strictly(run, lambda: made(name, 1), case.transient if road == "trace" else ())
    before, after = made(name).state_dict(), module.state_dict()
    for key in before:
        if key.startswith(tuple(case.fixed)):
            assert torch.equal(before[key], after[key]), key
    outputs = outputs_by_layer(module, samples(name), case.probe)
    assert not off_target(outputs, passed_over=expected)
    assert not unaccounted(products(model, samples(name)), run.report)


def has_advice(run: Initialised, layer: str) -> bool:
    """Return whether a layer's weight is said to look like made by hand, and what to do then."""
    return any(layer in text and "--exclude" in text for text in run.texts)


def expected_statuses(case: LayerCase, road: str) -> dict[str, str]:
    """Return the statuses other than `converged`, by the names that begin their weights'."""
    told = {
        layer: "excluded" if road in untold else "fixed" for layer, untold in case.fixed.items()
    }
    return told | dict(case.statuses)


def check_statuses(name: str, run: Initialised, expected: dict[str, str]) -> None:
    """Check the statuses; what is not in the module's state_dict must be fixed."""
    keys = made(name).state_dict().keys()
    for weight, status in run.statuses.items():
        wanted = [value for layer, value in expected.items() if weight.startswith(layer)]
        other = "converged" if weight.partition("[")[0] in keys else "fixed"
        assert status == (wanted[0] if wanted else other), run.statuses
    for layer in expected:
        if layer not in CASES[name].transient:
            assert any(weight.startswith(layer) for weight in run.statuses), layer


@pytest.mark.parametrize(("name", "road"), cases(*UNSCALABLE, roads=("unopt",)))
def test_excluded_layers_are_no_failure(files: Files, name: str, road: str) -> None:
    case = CASES[name]
    run = initialised(*files(name, road), exclude=tuple(f"{layer}.*" for layer in case.statuses))
    assert run.code == 0, run.texts
    check_statuses(name, run, dict.fromkeys(case.statuses, "excluded"))


@pytest.mark.parametrize(
    ("name", "road", "option"),
    [case for option in OPTIONS for case in cases(*SCALED, roads=("trace",), more=(option,))],
)
def test_options_hold_for_computed_weights(files: Files, name: str, road: str, option: str) -> None:
    options = OPTIONS[option]
    run = initialised(*files(name, road), **options)
    assert run.code == 0, run.texts
    module = load_strictly(run, lambda: made(name, 1))
    outputs = {layer: values[0] for layer, values in of_layers(module, name).items()}
    for layer, output in outputs.items():
        channels = by_channel(output)
        if option == "per channel":
            assert (channels.var(1, correction=0) - 1).abs().max() <= TOLERANCE, layer
        if option == "bias center":
            assert channels.mean(1).abs().max() <= TOLERANCE, layer
    if option != "per channel":  # whose means differ
        std = options.get("target_std", 1.0)
        assert not off_target({name: [output] for name, output in outputs.items()}, std)


def of_layers(module: nn.Module, name: str) -> dict[str, list[Tensor]]:
    """Return the outputs of a case's layers on its samples."""
    return outputs_by_layer(module, samples(name), CASES[name].probe)


def by_channel(output: Tensor) -> Tensor:
    """Return an output of shape (n, channels) or (n, channels, ...) as (channels, values)."""
    return output.double().transpose(0, 1).flatten(1)


@pytest.mark.parametrize(("name", "road"), cases(*SCALED, roads=("script",)))
def test_verify_measures_computed_weights(files: Files, name: str, road: str) -> None:
    model, data = files(name, road)
    run = initialised(model, data)
    assert run.code == 0, run.texts
    options = VerifyOptions(
        model=model,
        weights=Path(run.report["out"]["path"]),
        samples=SampleOptions(data=(str(data),), count=None),
        device="cpu",
    )
    report = verify_weights(options, Silent())
    assert len(report.layers) == len(of_layers(made(name), name))
    assert {layer.status for layer in report.layers} == {Status.WITHIN}


@pytest.mark.parametrize(
    ("name", "road"),
    cases("weight_normalised", "weight_normalised-older", roads=("script",)),
)
def test_normalised_weights_are_orthonormal(files: Files, name: str, road: str) -> None:
    run = initialised(*files(name, road))
    module = load_strictly(run, lambda: made(name, 1))
    with torch.no_grad():
        module(*samples(name))  # what computes the weights of the older weight_norm
    for one in module.children():
        if isinstance(weight := getattr(one, "weight", None), Tensor):
            flat = weight.detach().double().flatten(1)
            gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
            unit = gram / gram.diagonal().mean()
            torch.testing.assert_close(unit, torch.eye(len(unit)).double(), atol=1e-5, rtol=0)
