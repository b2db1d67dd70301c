"""Layers inside If, Loop and Scan: found, measured where the samples go, and reported elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from lsuv_cli.core.choices import Bias, PreInit, Status
from lsuv_cli.core.errors import ModelError
from lsuv_cli.engine.branches import find_branch_decisions, unroll_decided
from lsuv_cli.graph.topology import needed_nodes
from lsuv_cli.layers.left_alone import BLOCKED, layers_left_alone
from lsuv_cli.passes.hoist import hoist_constants
from lsuv_cli.reading.model import model_of
from lsuv_cli.reading.onnx_file import read_source
from lsuv_cli.runtime.devices import select_device
from support.command import Run
from support.graphs import body, constant, node, random_weight, save_graph
from support.inference import outputs_of
from support.initialization import run
from support.loop_graphs import LAST_WEIGHT, LOOP_GRAPHS, LOOP_INPUTS, WIDTH
from support.sample_files import save_batch, save_samples
from support.torch_export import export, save_torchscript
from support.torch_variances import variances_by_call

Array = NDArray[Any]
LEFT = (
    "MatMul_t (MatMul): it is inside Loop, which is not unrolled here, as it runs too often or not "
    "at all"
)
W = random_weight
CPU = select_device("cpu", None, 0, print)


class Branching(nn.Module):
    """A branch that depends on the data, and a loop whose length depends on its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.yes = nn.Linear(WIDTH, WIDTH)
        self.no = nn.Linear(WIDTH, WIDTH)
        self.cell = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.first(x))
        if bool(x.sum() > 0):  # noqa: SIM108 - what is scripted
            x = torch.tanh(self.yes(x))
        else:
            x = torch.tanh(self.no(x))
        for _ in range(x.shape[1] // 2):
            x = torch.tanh(self.cell(x))
        result: Tensor = self.head(x)
        return result


class Conditional(nn.Module):
    """A branch in the form that torch.export takes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.yes = nn.Linear(WIDTH, WIDTH)
        self.no = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.first(x))
        x = torch.cond(
            x.sum() < 0,
            lambda x: torch.tanh(self.yes(x)),
            lambda x: torch.tanh(self.no(x)),
            (x,),
        )
        result: Tensor = self.head(x)
        return result


class Scanning(nn.Module):
    """A recurrent cell under torch's scan, along the second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.outer = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits for each step."""
        from torch._higher_order_ops.scan import scan

        def cell(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            state = torch.tanh(self.outer(x) + self.inner(state))
            return state, state.clone()

        _, states = scan(cell, x[:, 0] * 0, x, dim=1)
        result: Tensor = self.head(states)
        return result


def made(kind: type[nn.Module], *shape: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return kind().eval(), torch.randn(16, *shape)


def check_in_pytorch(
    model: nn.Module, x: Tensor, written: dict[str, Array], calls: dict[str, int]
) -> dict[str, list[float]]:
    """Every layer that PyTorch itself runs has unit variance where its scale was decided."""
    model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)
    found = variances_by_call(model, (x,))
    assert {name: len(values) for name, values in found.items()} == calls
    return found


@pytest.mark.parametrize("form", ["script", "script, unfolded", "TorchScript"])
def test_scripted_by_pytorch(tmp_path: Path, lsuv: Run, form: str) -> None:
    model, x = made(Branching, WIDTH)
    save_batch(tmp_path, (x,))
    path = tmp_path / "m.pt"
    save_torchscript(model, (x,), path, "scripted")
    if form != "TorchScript":
        path = tmp_path / "m.onnx"
        script: Any = torch.jit.script(model)
        export(script, (x,), path, form)
    process = lsuv("init", path.name, "--data", "batch.npz", "--out", "out", "--json", "--force")
    assert process.returncode == 4, process.stderr  # no data reaches one branch
    report = json.loads(process.stdout)
    statuses: dict[str, list[str]] = {}
    for layer in report["layers"]:
        statuses.setdefault(layer["weight"], []).append(layer["status"])
    assert statuses == {
        "first.weight": ["converged"],
        "yes.weight": ["converged"],
        "no.weight": ["unreachable"],
        "cell.weight": ["converged", "shared", "shared"],
        "head.weight": ["converged"],
    }
    assert report["left_alone"] == []
    excluded = lsuv(
        *("init", path.name, "--data", "batch.npz", "--out", "out", "--force"),
        *("--exclude", "no.weight"),
    )
    assert excluded.returncode == 0, excluded.stderr
    from safetensors.numpy import load_file

    written = load_file(tmp_path / "out")
    calls = {"first": 1, "yes": 1, "cell": 3, "head": 1}
    for name, values in check_in_pytorch(model, x, written, calls).items():
        assert values[0] == pytest.approx(1, abs=2e-5), name


def test_branch_by_torch_export(tmp_path: Path) -> None:
    model, x = made(Conditional, WIDTH)
    export(model, (x,), tmp_path / "m.onnx", "dynamo")
    report, written = run(tmp_path / "m.onnx", save_batch(tmp_path, (x,)), count=16)
    statuses = {r.planned.layer.weight_name: r.status for r in report.layers}
    assert statuses == {
        "first.weight": Status.CONVERGED,
        "yes.weight": Status.UNREACHABLE,
        "no.weight": Status.CONVERGED,
        "head.weight": Status.CONVERGED,
    }
    fresh = made(Conditional, WIDTH)[0].state_dict()
    np.testing.assert_array_equal(written["yes.weight"], fresh["yes.weight"].numpy())
    values = torch.relu(x @ torch.from_numpy(written["first.weight"]).T)
    values = values @ torch.from_numpy(written["no.weight"]).T
    assert values.double().var(correction=0).item() == pytest.approx(1, abs=2e-5)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)


def test_scan_by_torch_export(tmp_path: Path) -> None:
    model, x = made(Scanning, 5, WIDTH)
    export(model, (x,), tmp_path / "m.onnx", "dynamo")
    report, written = run(tmp_path / "m.onnx", save_batch(tmp_path, (x,)), count=16, tol=1e-4)
    by_weight: dict[str, list[Status]] = {}
    for result in report.layers:
        by_weight.setdefault(result.planned.layer.weight_name, []).append(result.status)
    shared, converged = Status.SHARED, Status.CONVERGED
    # The state is zero at first, and the inner layer's output does not vary.
    assert by_weight["inner.weight"] == [shared, converged, shared, shared, shared]
    assert by_weight["outer.weight"] == [converged, *[shared] * 4]
    assert by_weight["head.weight"] == [converged]
    model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)
    weights = {name: torch.from_numpy(value) for name, value in written.items()}
    outer = x[:, 0] @ weights["outer.weight"].T
    inner = torch.tanh(outer) @ weights["inner.weight"].T
    for value in (outer, inner):
        assert value.double().var(correction=0).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("most", [1, 10**9])
@pytest.mark.parametrize("name", LOOP_GRAPHS)
def test_unrolled_they_compute_the_same(tmp_path: Path, name: str, most: int) -> None:
    nodes, shape = LOOP_GRAPHS[name]
    path = save_graph(tmp_path / "m.onnx", nodes, LAST_WEIGHT, ("n", *shape))
    feeds = {"x": W(8, *shape, seed=9)}
    source = hoist_constants(read_source(path))
    written = unroll_decided(source, find_branch_decisions(source, {}, feeds, CPU, most))
    plain = onnx.ModelProto()
    plain.CopyFrom(written.skeleton)
    plain.graph.initializer.extend(
        numpy_helper.from_array(weight.read(), key) for key, weight in written.parameters.items()
    )
    # Without the branches that are not taken, which read what does not fit them.
    run = needed_nodes(list(plain.graph.node), [value.name for value in plain.graph.output])
    del plain.graph.node[:]
    plain.graph.node.extend(run)
    assert not {"If", "Loop", "Scan"} & {one.op_type for one in run}
    expected = outputs_of(onnx.load(path), feeds)
    for one, same in zip(expected, outputs_of(plain, feeds), strict=True):
        np.testing.assert_allclose(same, one, atol=1e-5)


@pytest.mark.parametrize("name", LOOP_GRAPHS)
def test_layers_in_bodies_by_hand(tmp_path: Path, name: str) -> None:
    nodes, shape = LOOP_GRAPHS[name]
    path = save_graph(tmp_path / "m.onnx", nodes, LAST_WEIGHT, ("n", *shape))
    samples = save_samples(tmp_path, shape)
    report, written = run(path, samples, tol=1e-4)
    assert {r.status for r in report.layers} <= {Status.CONVERGED, Status.SHARED}
    assert written.keys() == {"w", "u", "v"}
    x = np.load(samples).astype(np.float64)
    if name == "while":
        first = x @ written["w"]
        outputs = [first, np.tanh(first) @ written["u"]]
        # In the first two rounds it is used, in the others it is not.
        uses = [r.detail for r in report.layers if r.planned.layer.weight_name == "u"]
        assert uses[:2] == ["", "scaled at MatMul_n0.0"]
        assert set(uses[2:]) == {"scaled at MatMul_n0.0; no data reaches it here"}
    else:
        first = x[:, -1 if "backwards" in name else 0] @ written["w"]
        outputs = [first, np.tanh(first) @ written["u"]]
    for output in outputs:
        assert output.var() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("form", ["initializer", "Constant", "copy"])
def test_a_way_that_changes_with_the_weights(tmp_path: Path, lsuv: Run, form: str) -> None:
    """The file's weights are small, and the first layer's output then below the threshold."""
    bodies_ = [
        body([node("MatMul", f"a {w}", f"{w}_out")], {}, [f"{w}_out"], {w: W(WIDTH, WIDTH)})
        for w in ("large", "small")
    ]
    nodes = [
        constant("half", np.float32(0.5)),
        node("MatMul", "x w", "a"),
        node("Mul", "a a", "square"),
        node("ReduceMean", "square", "mean", keepdims=0),
        node("Greater", "mean half", "big"),
        helper.make_node(
            "If", ["big"], ["b"], name="if", then_branch=bodies_[0], else_branch=bodies_[1]
        ),
        node("MatMul", "b v", "z"),
    ]
    small = W(WIDTH, WIDTH) * np.float32(0.01)
    weights = {"w": small, **LAST_WEIGHT}
    if form != "initializer":
        del weights["w"]
        nodes.insert(0, constant("w", small))
    if form == "copy":
        # As PyTorch's exporter writes weights that are equal.
        weights["w0"] = small
        nodes[0] = node("Identity", "w0", "w")
        nodes.append(node("MatMul", "z v2", "z2"))
        nodes.append(node("MatMul", "x w0", "z3"))
        nodes.append(node("Concat", "z2 z3", "z4", axis=1))
        weights["v2"] = W(4, 4)
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", WIDTH))
    if form == "copy":
        proto = onnx.load(path)
        proto.producer_name = "pytorch"
        onnx.save(proto, path)
    samples = save_samples(tmp_path, (WIDTH,))
    names = "pytorch" if form == "copy" else "onnx"
    report, written = run(path, samples, exclude=("w0",) * (form == "copy"), names=names)
    statuses = {r.planned.layer.weight_name: r.status for r in report.layers}
    assert statuses["large"] is Status.CONVERGED
    assert statuses["small"] is Status.UNREACHABLE
    np.testing.assert_array_equal(written["small"], W(WIDTH, WIDTH))
    first = np.load(samples).astype(np.float64) @ written["w"]
    assert (first @ written["large"]).var() == pytest.approx(1, abs=1e-5)
    # How often the samples may change their way is not how often a scale may be changed.
    shown = lsuv("init", "m.onnx", "--data", "samples.npy", "--out", "out", "--max-iter", 1)
    assert "with the new weights the samples take another branch; starting again" in shown.stderr
    assert not list(tmp_path.glob(".lsuv*"))


def test_a_way_that_never_settles(tmp_path: Path, lsuv: Run) -> None:
    """The branch that is taken gets small weights, and then the other one is."""
    outputs = [
        body(
            [
                node("MatMul", f"x {w}", f"{w}_a"),
                node("Mul", f"{w}_a {w}_a", f"{w}_2"),
                node("ReduceMean", f"{w}_2", f"{w}_out", keepdims=0),
            ],
            {},
            [f"{w}_out"],
        )
        for w in ("one", "other")
    ]
    nodes = [
        # The weight of the branch that was not taken is the larger one.
        node("Mul", "one one", "one2"),
        node("Mul", "other other", "other2"),
        node("ReduceMax", "one2", "p", keepdims=0),
        node("ReduceMax", "other2", "q", keepdims=0),
        node("Greater", "p q", "go"),
        helper.make_node("If", ["go"], ["b"], then_branch=outputs[0], else_branch=outputs[1]),
        node("MatMul", "x v", "z0"),
        node("Add", "z0 b", "z"),
    ]
    weights = {
        "one": W(WIDTH, WIDTH, seed=1) * np.float32(30),
        "other": W(WIDTH, WIDTH, seed=2) * np.float32(20),
        **LAST_WEIGHT,
    }
    save_graph(tmp_path / "m.onnx", nodes, weights, ("n", WIDTH))
    save_samples(tmp_path, (WIDTH,))
    shown = lsuv("init", "m.onnx", "--data", "samples.npy", "--out", "out")
    assert shown.returncode == 3, shown.stderr
    assert "the branches that the samples take change with every initialisation" in shown.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "samples.npy"}


def test_what_can_not_be_unrolled_is_reported(tmp_path: Path, lsuv: Run) -> None:
    graph = body(
        [node("MatMul", "s w", "t"), node("Identity", "go", "on")],
        LOOP_INPUTS,
        ["on", "t"],
        {"w": W(WIDTH, WIDTH) * np.float32(0.1)},
    )
    nodes = [
        constant("often", np.int64(20_000)),
        constant("yes", np.array(True)),
        node("MatMul", "x v", "a"),
        helper.make_node("Loop", ["often", "yes", "a"], ["b"], name="long", body=graph),
        node("MatMul", "b v2", "z"),
    ]
    weights = {"v": W(WIDTH, WIDTH), "v2": W(WIDTH, WIDTH)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", WIDTH))
    save_samples(tmp_path, (WIDTH,))
    model, _ = model_of(read_source(path))
    assert layers_left_alone(model) == [LEFT]
    shown = lsuv("init", "m.onnx", "--data", "samples.npy", "--out", "out", "--json")
    assert f"left as they are: {LEFT}" in " ".join(shown.stderr.split())
    assert json.loads(shown.stdout)["left_alone"] == [LEFT]


def test_kept_weights_are_scaled_in_bodies(tmp_path: Path) -> None:
    nodes, shape = LOOP_GRAPHS["scan"]
    path = save_graph(tmp_path / "m.onnx", nodes, LAST_WEIGHT, ("n", *shape))
    _, written = run(path, save_samples(tmp_path, shape), pre_init=PreInit.KEEP)
    ratio = written["w"] / W(WIDTH, WIDTH)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)


def test_a_broken_body_is_refused(tmp_path: Path) -> None:
    one = body([node("MatMul", "nowhere w2", "t")], {}, ["t"], {"w2": W(WIDTH, WIDTH)})
    two = body([node("Identity", "x", "u")], {}, ["u"])
    nodes = [
        constant("yes", np.array(True)),
        helper.make_node("If", ["yes"], ["b"], then_branch=one, else_branch=two),
        node("MatMul", "b v", "z"),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, LAST_WEIGHT, ("n", WIDTH))
    with pytest.raises(ModelError, match="reads the value nowhere, which no node produces"):
        run(path, save_samples(tmp_path, (WIDTH,)))


def test_what_is_nested_in_a_branch_that_is_not_taken_does_not_run(tmp_path: Path) -> None:
    """An If on a shape, which what stands for the data there does not have."""
    inner = [
        constant("one", np.int64(1)),
        constant("six", np.int64(6)),
        node("Shape", "a", "shape"),
        node("Gather", "shape one", "width"),
        node("Equal", "width six", "is6"),
        helper.make_node(
            "If",
            ["is6"],
            ["inner_out"],
            then_branch=body([node("MatMul", "a p", "po")], {}, ["po"], {"p": W(WIDTH, WIDTH)}),
            else_branch=body([node("MatMul", "a q", "qo")], {}, ["qo"], {"q": W(WIDTH, WIDTH)}),
        ),
        node("MatMul", "inner_out r", "after"),
    ]
    taken = body([node("MatMul", "a t", "to")], {}, ["to"], {"t": W(WIDTH, WIDTH)})
    nodes = [
        constant("low", np.float32(-1e9)),
        node("MatMul", "x w", "a"),
        node("ReduceMean", "a", "mean", keepdims=0),
        node("Greater", "mean low", "high"),
        helper.make_node(
            "If",
            ["high"],
            ["b"],
            then_branch=taken,
            else_branch=body(inner, {}, ["after"], {"r": W(WIDTH, WIDTH)}),
        ),
        node("MatMul", "b v", "z"),
    ]
    path = save_graph(
        tmp_path / "m.onnx", nodes, {"w": W(WIDTH, WIDTH), **LAST_WEIGHT}, ("n", WIDTH)
    )
    report, _ = run(path, save_samples(tmp_path, (WIDTH,)))
    statuses = {r.planned.layer.weight_name: r.status for r in report.layers}
    reached = dict.fromkeys("wtv", Status.CONVERGED)
    assert statuses == reached | dict.fromkeys("pqr", Status.UNREACHABLE)


def test_weights_of_bodies_in_external_data(tmp_path: Path, lsuv: Run) -> None:
    nodes, shape = LOOP_GRAPHS["scan"]
    (tmp_path / "model").mkdir()
    path = save_graph(tmp_path / "model" / "m.onnx", nodes, LAST_WEIGHT, ("n", *shape))
    expected, _ = run(path, save_samples(tmp_path, shape), count=8)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="m.bin", size_threshold=0)
    report, written = run(path, tmp_path / "samples.npy", count=8)
    assert written.keys() == {"w", "u", "v"}
    for one, other in zip(expected.layers, report.layers, strict=True):
        np.testing.assert_allclose(one.scale, other.scale, rtol=1e-6)
    out = tmp_path / "model" / "m.bin"
    refused = lsuv("init", path, "--data", "samples.npy", "--out", out, "--force")
    assert refused.returncode == 5
    assert "is the model's external data itself" in refused.stderr


class Tied(nn.Module):
    """A layer that comes first in the graph in the branch that is not taken."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.both = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.first(x))
        if bool(x.sum() > 1e9):
            x = torch.relu(self.both(x))
        else:
            x = torch.tanh(self.both(x * 2))
        result: Tensor = self.head(x)
        return result


@pytest.mark.parametrize("bias", [Bias.ZERO, Bias.CENTER])
def test_a_layer_in_both_branches(tmp_path: Path, bias: Bias) -> None:
    model, x = made(Tied, WIDTH)
    save_torchscript(model, (x,), tmp_path / "m.pt", "scripted")
    np.save(tmp_path / "x.npy", x.numpy())
    report, written = run(tmp_path / "m.pt", tmp_path / "x.npy", count=16, bias=bias)
    statuses = [(r.planned.layer.weight_name, r.status) for r in report.layers]
    assert statuses.count(("both.weight", Status.SHARED)) == 1
    assert statuses.count(("both.weight", Status.CONVERGED)) == 1
    found = check_in_pytorch(model, x, written, {"first": 1, "both": 1, "head": 1})
    assert all(values[0] == pytest.approx(1, abs=2e-5) for values in found.values())
    if bias is Bias.ZERO:
        assert not written["both.bias"].any()
    else:
        with torch.no_grad():
            output = model.both(torch.relu(model.first(x)) * 2)  # type: ignore[operator]
        assert output.mean(0).abs().max() < 1e-5


class Normalised(nn.Module):
    """Convolution and BatchNorm in a branch, and BatchNorm alone in the other."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.first = nn.Conv2d(3, 4, 3)
        self.conv = nn.Conv2d(4, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.other = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.first(x)
        if bool(x.mean() < self.threshold):
            x = torch.relu(self.norm(self.conv(x)))
        else:
            x = self.other(x)
        result: Tensor = self.head(x.mean([2, 3]))
        return result


@pytest.mark.parametrize("threshold", [-1e9, 1e9])
def test_batch_norm_in_branches(tmp_path: Path, threshold: float) -> None:
    torch.manual_seed(0)
    model, x = Normalised(threshold).eval(), torch.randn(16, 3, 9, 9)
    save_torchscript(model, (x,), tmp_path / "m.pt", "scripted")
    np.save(tmp_path / "x.npy", x.numpy())
    report, written = run(tmp_path / "m.pt", tmp_path / "x.npy", count=16)
    statuses = {r.planned.layer.weight_name: r.status for r in report.layers}
    reached = threshold > 0
    assert statuses == {
        "first.weight": Status.CONVERGED,
        "conv.weight": Status.CONVERGED if reached else Status.UNREACHABLE,
        "head.weight": Status.CONVERGED,
    }
    calls = {"first": 1, "head": 1} | ({"conv": 1} if reached else {})
    found = check_in_pytorch(model, x, written, calls)
    assert all(values[0] == pytest.approx(1, abs=2e-5) for values in found.values())
    changed = "norm" if reached else "other"
    kept = "other" if reached else "norm"
    assert written[f"{changed}.running_mean"].any()
    assert not written[f"{kept}.running_mean"].any()


def test_fused_layers_in_bodies_and_blocked_convolutions_are_named(tmp_path: Path) -> None:
    fused = [
        helper.make_node(
            "FusedGemm",
            ["s", "w", "b"],
            ["t"],
            name="inside",
            domain="com.microsoft",
            activation=b"Relu",
        ),
        node("Identity", "go", "on"),
    ]
    graph = body(fused, LOOP_INPUTS, ["on", "t"], {"w": W(WIDTH, WIDTH), "b": W(WIDTH)})
    nodes = [
        constant("twice", np.int64(2)),
        constant("yes", np.array(True)),
        helper.make_node("Loop", ["twice", "yes", "x"], ["a"], body=graph),
        node("MatMul", "a v", "z"),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, LAST_WEIGHT, ("n", WIDTH))
    proto = onnx.load(path)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(proto, path)
    report, _ = run(path, save_samples(tmp_path, (WIDTH,)))
    assert [(r.planned.layer.weight_name, r.status) for r in report.layers] == [
        *(("w", Status.CONVERGED), ("w", Status.SHARED), ("v", Status.CONVERGED))
    ]
    blocked = helper.make_node(
        "Conv", ["x", "k"], ["y"], name="blocked", domain="com.microsoft.nchwc"
    )
    nodes = [blocked, node("GlobalAveragePool", "y", "p"), node("Conv", "p u", "z")]
    weights = {"k": W(8, 8, 3, 3), "u": W(4, 8, 1, 1)}
    path = save_graph(tmp_path / "b.onnx", nodes, weights, ("n", 8, 6, 6))
    model, _ = model_of(read_source(path))
    assert layers_left_alone(model) == [f"blocked (Conv): {BLOCKED}"]
