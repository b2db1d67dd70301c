"""Layers that only some samples reach, as many as their contents say: branches of a routed graph.

Each is measured on the samples that reach it. Oracle: ONNX Runtime on the written file alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsuv_cli.core.choices import BatchNorm, Bias, Init, Per, Status
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import CompareOptions, SampleOptions
from lsuv_cli.core.records import Report
from lsuv_cli.jobs.compare import compare_inits
from lsuv_cli.layers.data_dependent_sizes import values_of_data_dependent_size
from lsuv_cli.reading.onnx_file import read_model
from support.command import Run
from support.graphs import Array, node, random_weight, save_graph
from support.inference import forward
from support.initialization import run
from support.processes import Processes
from support.routed import BRANCHES, routed_samples, save_routed
from support.written_files import check_same_weights

REACHED = [f"{kind}{e}" for e in range(BRANCHES - 1) for kind in "hy"]
UNREACHED = f"h{BRANCHES - 1}", f"y{BRANCHES - 1}"
LEFT = f"w{BRANCHES - 1}", f"b{BRANCHES - 1}", f"v{BRANCHES - 1}"
BATCHES: list[dict[str, Any]] = [
    {},
    {"batch_size": 8},  # of the first only branch 0 has samples
    {"batch_size": 5, "max_segment_bytes": 1, "memory_bytes": 10},
    {"batch_size": 1},
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A routed graph; `x.npy` and `weights` lie beside it."""
    save_routed(tmp_path / "m.onnx")
    routed_samples(tmp_path / "x.npy")
    return tmp_path / "m.onnx"


def statuses(report: Report) -> dict[str, tuple[Status, str]]:
    """Each layer's status and detail by the value that it makes."""
    return {r.planned.layer.name.split("_")[1]: (r.status, r.detail) for r in report.layers}


def check(model: Path, report: Report, written: dict[str, Array], per: Per = Per.LAYER) -> None:
    """Check every status, the variances on the samples of each branch, and what stays."""
    found = statuses(report)
    for name in UNREACHED:
        assert found.pop(name) == (Status.UNREACHABLE, "no sample reaches it")
    assert set(found.values()) == {(Status.CONVERGED, "")}
    feeds = {"x": np.load(model.parent / "x.npy")}
    for value in [*REACHED, "z"]:
        output = forward(model, written, feeds, value).astype(np.float64)
        spread = output.var(axis=0) if per is Per.CHANNEL else output.var()
        np.testing.assert_allclose(spread, np.ones_like(spread), atol=1e-5, err_msg=value)
    before = save_routed(model.parent / "again.onnx")
    for name in LEFT:
        assert written[name].tobytes() == before[name].tobytes()
    for result in report.layers:
        reached = result.status is Status.CONVERGED
        assert (result.iterations, result.before is not None) == (int(reached), reached)
        assert (result.after is not None) == reached


@pytest.mark.parametrize("options", BATCHES)
def test_each_branch_is_measured_on_its_own_samples(model: Path, options: dict[str, Any]) -> None:
    report, written = run(model, model.parent / "x.npy", count=None, **options)
    check(model, report, written)
    counted = {r.planned.layer.name: r.after.count for r in report.layers if r.after is not None}
    keys = np.load(model.parent / "x.npy")[:, 0]
    for e in range(BRANCHES - 1):
        assert counted[f"Gemm_h{e}"] == counted[f"MatMul_y{e}"] == np.sum(np.floor(keys) == e)


@pytest.mark.parametrize("batch_size", [None, 8])
@pytest.mark.parametrize("bias", [Bias.ZERO, Bias.CENTER])
@pytest.mark.parametrize("per", list(Per))
def test_biases_and_channels(model: Path, per: Per, bias: Bias, batch_size: int | None) -> None:
    data = model.parent / "x.npy"
    routed_samples(data, count=200)
    report, written = run(model, data, count=None, per=per, bias=bias, batch_size=batch_size)
    check(model, report, written, per)
    feeds = {"x": np.load(data)}
    if bias is Bias.CENTER:
        for value in (name for name in REACHED if name.startswith("h")):
            mean = forward(model, written, feeds, value).mean(axis=0)
            np.testing.assert_allclose(mean, 0, atol=1e-5)


def test_without_verification(model: Path) -> None:
    report, _ = run(model, model.parent / "x.npy", count=None, verify=False)
    assert [result.status for result in report.layers].count(Status.UNREACHABLE) == 2


def test_kept_biases_and_a_target(model: Path) -> None:
    data = model.parent / "x.npy"
    report, written = run(
        model, data, count=None, bias=Bias.KEEP, targets=(("*", 3.0),), batch_size=7
    )
    found = statuses(report)
    assert [found[name][0] for name in UNREACHED] == [Status.UNREACHABLE] * 2
    feeds = {"x": np.load(data)}
    for value in [*REACHED, "z"]:
        assert found[value][0] is Status.CONVERGED
        assert forward(model, written, feeds, value).std() == pytest.approx(3, abs=1e-4)


def test_a_weight_that_another_use_reaches(tmp_path: Path) -> None:
    """It is scaled there, wherever the use without samples stands."""
    weights = save_routed(tmp_path / "m.onnx")
    routed_samples(tmp_path / "x.npy")
    for e, other in ((3, 0), (0, 3)):
        # Branch 3 has the weights of branch 0, and the other way round.
        model = read_model(tmp_path / "m.onnx")[0]
        nodes = [n for n in model.nodes if n.op_type != "Constant"]
        for n in nodes:
            n.input[:] = [
                f"{name[0]}{other}" if name in (f"w{e}", f"v{e}") else name for name in n.input
            ]
        kept = {k: v for k, v in weights.items() if k not in (f"w{e}", f"v{e}")}
        path = save_graph(tmp_path / f"{e}.onnx", nodes, kept, ("n", 6))
        report, written = run(path, tmp_path / "x.npy", count=None, batch_size=8)
        found = statuses(report)
        for kind in "hy":
            status, detail = found[f"{kind}3"]
            assert status is Status.SHARED
            assert detail.endswith("; no sample reaches it here")
        feeds = {"x": np.load(tmp_path / "x.npy")}
        for value in [*REACHED, "z"]:
            assert found[value] == (Status.CONVERGED, "")
            assert forward(path, written, feeds, value).var() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("batch_size", [None, 8])
def test_normalisations_of_each_branch(tmp_path: Path, batch_size: int | None) -> None:
    before = save_routed(tmp_path / "m.onnx", norms=True)
    samples = routed_samples(tmp_path / "x.npy", count=200)
    report, written = run(
        tmp_path / "m.onnx",
        tmp_path / "x.npy",
        count=None,
        bn=BatchNorm.BATCH,
        batch_size=batch_size,
    )
    found = statuses(report)
    assert [found.pop(name)[0] for name in UNREACHED] == [Status.UNREACHABLE] * 2
    assert {status for status, _ in found.values()} == {Status.CONVERGED}
    for e in range(BRANCHES - 1):
        hidden = forward(tmp_path / "m.onnx", written, {"x": samples}, f"h{e}")
        np.testing.assert_allclose(written[f"mean{e}"], hidden.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(written[f"var{e}"], hidden.var(axis=0), rtol=1e-4)
        output = forward(tmp_path / "m.onnx", written, {"x": samples}, f"y{e}")
        assert output.var() == pytest.approx(1, abs=1e-4)
    for name in ("mean3", "var3"):
        np.testing.assert_array_equal(written[name], before[name])


def test_verify_judges_what_the_samples_reach(lsuv: Run, model: Path) -> None:
    done = lsuv("init", "m.onnx", "--data", "x.npy", "--out", "w", "--samples", "all")
    assert done.returncode == 4
    assert "unreachable: no sample reaches it" in " ".join(done.stderr.split())
    verified = lsuv("verify", "m.onnx", "w", "--data", "x.npy", "--samples", "all", "--json")
    assert verified.returncode == 4
    layers = json.loads(verified.stdout)["layers"]
    found = {layer["name"].split("_")[1]: layer for layer in layers}
    for name in UNREACHED:
        assert found[name]["status"] == "unreachable"
        assert found[name]["detail"] == "no sample reaches it"
    assert {found[name]["status"] for name in [*REACHED, "z"]} == {"within"}
    excluded = lsuv(
        *("verify", "m.onnx", "w", "--data", "x.npy", "--samples", "all"),
        *("--exclude", "w3", "--exclude", "v3"),
    )
    assert excluded.returncode == 0, excluded.stderr


def test_compare_shows_what_the_samples_reach(model: Path) -> None:
    samples = SampleOptions(data=(str(model.parent / "x.npy"),), count=None)
    options = CompareOptions(
        model=model,
        samples=samples,
        device="cpu",
        inits=(Init.LSUV, Init.HE),
        batch_size=9,
        backward=False,
    )
    found = compare_inits(options, Silent())
    stds = dict(
        zip((p.layer.name for p in found.layers), found.forward(found.inits[0]), strict=True)
    )
    for name, std in stds.items():
        expected = None if name.split("_")[1] in UNREACHED else pytest.approx(1, abs=1e-5)
        assert std == expected, name


@pytest.mark.processes
def test_several_processes(lsuv: Run, model: Path, processes: Processes) -> None:
    """One of them has samples of branch 0 alone."""
    words = ("init", "m.onnx", "--data", "x.npy", "--samples", "all", "--batch-size", 3)
    processes.torchrun(2, "-m", "lsuv_cli", *words, "--out", "out")
    processes.codes()
    assert lsuv(*words, "--out", "one").returncode == 4
    check_same_weights(model.parent / "out", model.parent / "one")


def test_resuming(lsuv: Run, model: Path) -> None:
    """Values without a row are kept and found again."""
    words = ["init", "m.onnx", "--data", "x.npy", "--samples", "all", "--batch-size", 4]
    assert lsuv(*words, "--out", "whole").returncode == 4
    assert lsuv(*words, "--out", "out", "--resume", "c").returncode == 4
    assert (model.parent / "out").read_bytes() == (model.parent / "whole").read_bytes()


def test_values_of_data_dependent_size(tmp_path: Path) -> None:
    """What follows from the contents of the samples, and not what follows from their sizes."""
    nodes = [
        *(node("Shape", "x", "shape"), node("Reshape", "x shape", "same")),
        *(node("ReduceMax", "x", "most", keepdims=0), node("Cast", "most", "number", to=7)),
        *(node("Reshape", "number one", "limit"), node("Slice", "x start limit", "cut")),
        *(node("MatMul", "cut w", "product"), node("Size", "product", "size")),
        *(node("Reshape", "size one", "sizes"), node("Expand", "vector sizes", "long")),
        *(node("NonZero", "x", "nz"), node("Transpose", "nz", "at"), node("GatherND", "x at", "g")),
        *(node("ScatterND", "x at g", "put"), node("Add", "put same", "z")),
    ]
    weights = {"one": np.array([1]), "start": np.array([0]), "w": random_weight(6, 3)}
    weights |= {"vector": np.ones(1, np.float32)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 6))
    found = values_of_data_dependent_size(read_model(path)[0])
    assert found == {"cut", "product", "long", "nz", "at", "g"}
