"""BatchNormalization: with the samples' statistics or with its own, checked in PyTorch."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, nn

from lsuv_cli.core.choices import BatchNorm, Bias, Init, Status
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import CompareOptions, SampleOptions, VerifyOptions
from lsuv_cli.core.verification import Verification
from lsuv_cli.jobs.compare import compare_inits
from lsuv_cli.jobs.verify import verify_weights
from support.command import Run
from support.graphs import node, random_weight, save_graph
from support.inference import forward
from support.initialization import run
from support.processes import Processes
from support.sample_files import save_samples
from support.torch_batch_norm import Residual, randomized_residual
from support.torch_export import export_with_batch_norm
from support.torch_variances import variances_by_layer

Array = NDArray[Any]


@pytest.mark.parametrize("bias", list(Bias))
@pytest.mark.parametrize("training", [False, True])
def test_batch_statistics(tmp_path: Path, bias: Bias, training: bool) -> None:
    """Unit variance in train mode, as at the first step, and in eval mode afterwards."""
    model = randomized_residual()
    path = export_with_batch_norm(model, tmp_path / "m.onnx", (3, 9, 9), training)
    samples = save_samples(tmp_path, (3, 9, 9))
    report, written = run(path, samples, bias=bias)
    assert {result.status for result in report.layers} == {Status.CONVERGED}
    state = {name: torch.from_numpy(value) for name, value in written.items()}
    model.load_state_dict(state, strict=True)
    batch = np.load(samples)
    for found in (
        variances_by_layer(model.eval(), batch),
        variances_by_layer(model.train(), batch),
    ):
        assert len(found) == 4
        for name, variance in found.items():
            assert variance == pytest.approx(1, abs=2e-5), name
    # Running statistics as PyTorch computes them, but for the population's variance.
    statistics: dict[str, Array] = {}
    model.eval().load_state_dict(state, strict=True)
    model.bn3.register_forward_pre_hook(
        lambda _module, inputs: statistics.update(x=inputs[0].detach().double().numpy())
    )
    model(torch.from_numpy(batch))
    np.testing.assert_allclose(
        written["bn3.running_mean"], statistics["x"].mean((0, 2, 3)), atol=1e-5
    )
    np.testing.assert_allclose(
        written["bn3.running_var"], statistics["x"].var((0, 2, 3)), rtol=1e-5
    )
    for name in ("bn1.weight", "bn2.bias"):
        assert written[name].tobytes() == randomized_residual().state_dict()[name].numpy().tobytes()


def test_running_statistics_are_kept(tmp_path: Path) -> None:
    model = randomized_residual()
    path = export_with_batch_norm(model, tmp_path / "m.onnx", (3, 9, 9))
    samples = save_samples(tmp_path, (3, 9, 9))
    report, written = run(path, samples, bn=BatchNorm.RUNNING)
    assert {result.status for result in report.layers} == {Status.CONVERGED}
    for name, value in model.state_dict().items():
        if "running" in name:
            assert written[name].tobytes() == value.numpy().tobytes()
    state = {name: torch.from_numpy(value) for name, value in written.items()}
    model.load_state_dict(state, strict=False)
    for variance in variances_by_layer(model.eval(), np.load(samples)).values():
        assert variance == pytest.approx(1, abs=2e-5)


def test_equal_batch_norms_get_their_own_statistics(tmp_path: Path) -> None:
    """The exporter stores new BatchNorms' equal parameters once; each is written by its name.

    With the step counters, which the file does not hold at all, so that PyTorch finds every name.
    """
    torch.manual_seed(0)
    model = Residual().eval()
    path = export_with_batch_norm(model, tmp_path / "m.onnx", (3, 9, 9))
    samples = save_samples(tmp_path, (3, 9, 9))
    _, written = run(path, samples)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)
    for found in (
        variances_by_layer(model.eval(), np.load(samples)),
        variances_by_layer(model.train(), np.load(samples)),
    ):
        for name, variance in found.items():
            assert variance == pytest.approx(1, abs=2e-5), name


class Repeated(nn.Module):
    """One BatchNorm that is called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        for _ in range(3):
            x = torch.relu(self.norm(self.conv(x))) + x
        result: Tensor = self.head(x.mean((2, 3)))
        return result


def test_a_batch_norm_of_several_calls_keeps_its_statistics(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Repeated().eval()
    path = export_with_batch_norm(model, tmp_path / "m.onnx", (3, 8, 8))
    samples = save_samples(tmp_path, (3, 8, 8))
    report, written = run(path, samples)
    statuses = [result.status for result in report.layers]
    assert statuses == [Status.CONVERGED, Status.SHARED, Status.SHARED, Status.CONVERGED]
    assert not written["norm.running_mean"].any()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in written.items()})
    with torch.no_grad():
        output = model(torch.from_numpy(np.load(samples)))
    assert output.double().var(correction=0).item() == pytest.approx(1, abs=2e-5)


class Shifted(nn.Module):
    """A BatchNorm between two convolutions, of which the second has one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Conv2d(6, 1, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """A map."""
        result: Tensor = self.head(self.norm(self.conv(x)))
        return result


def test_one_sweep_does_where_a_layer_behind_is_measured_again(tmp_path: Path) -> None:
    """Moments of unscaled values are not taken for those of the scaled values."""
    torch.manual_seed(0)
    model = Shifted().eval()
    # The head's mean is large beside its deviation, so that its part is swept more cautiously.
    nn.init.constant_(model.norm.bias, 100)
    path = export_with_batch_norm(model, tmp_path / "m.onnx", (3, 8, 8))
    samples = save_samples(tmp_path, (3, 8, 8))
    report, written = run(path, samples, batch_size=3)
    assert {(one.status, one.iterations) for one in report.layers} == {(Status.CONVERGED, 1)}
    model.load_state_dict({key: torch.from_numpy(value) for key, value in written.items()})
    for found in (
        variances_by_layer(model.eval(), np.load(samples)),
        variances_by_layer(model.train(), np.load(samples)),
    ):
        assert list(found.values()) == pytest.approx([1, 1], abs=2e-5)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_channels_that_hardly_vary_around_a_large_mean(
    tmp_path: Path, batch_size: int | None
) -> None:
    """A channel such as a year or a temperature in Kelvin, whose mean is hidden by the others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6)).eval()
    path = export_with_batch_norm(model, tmp_path / "m.onnx", (6, 8, 8))
    batch = random_weight(8, 6, 8, 8) + np.float32(300) * np.arange(6).reshape(-1, 1, 1)
    np.save(tmp_path / "samples.npy", batch.astype(np.float32))
    _, written = run(path, tmp_path / "samples.npy", batch_size=batch_size)
    x = np.load(tmp_path / "samples.npy").astype(np.float64)
    np.testing.assert_allclose(written["0.running_mean"], x.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(written["0.running_var"], x.var((0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_statistics_behind_another_use_of_a_weight_that_is_scaled(
    tmp_path: Path, batch_size: int | None
) -> None:
    """Statistics are those with the written weight, not with the weight that was measured."""
    nodes = [
        *(node("Conv", "x w", "a"), node("Relu", "a", "r"), node("Conv", "r w", "b")),
        node("BatchNormalization", "b scale shift mean variance", "y"),
    ]
    weights = {"w": random_weight(4, 4, 3, 3), "scale": np.ones(4, np.float32)}
    weights |= {name: np.zeros(4, np.float32) for name in ("shift", "mean", "variance")}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 4, 8, 8))
    samples = save_samples(tmp_path, (4, 8, 8))
    options = {"exclude": ("Conv_b",), "batch_size": batch_size}
    _, written = run(path, samples, bn=BatchNorm.BATCH, **options)
    taken_in = forward(path, written, {"x": np.load(samples)}, "b")
    np.testing.assert_allclose(written["variance"], taken_in.var((0, 2, 3)), rtol=1e-5)


COUNT = 40


def verified(model: Path, samples: Path, bn: BatchNorm, **more: Any) -> Verification:
    """Verify in this process, in three batches."""
    options = VerifyOptions(
        model=model,
        samples=SampleOptions((str(samples),)),
        batch_size=16,
        bn=bn,
        device="cpu",
        **more,
    )
    return verify_weights(options, Silent())


def moments(verification: Verification) -> list[tuple[float, float]]:
    """Return the mean and variance of each layer's output."""
    return [
        (one.moments.blob_mean, one.moments.blob_variance)
        for one in verification.layers
        if one.moments is not None
    ]


def kept_values(model: nn.Module, batch: Array, *names: str) -> list[Array]:
    """Return the output of some modules for a batch."""
    kept: dict[str, Array] = {}
    model = copy.deepcopy(model)
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: kept.update({name: output.numpy()})
        )
    with torch.no_grad():
        model(torch.from_numpy(batch))
    return [kept[name] for name in names]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bn", list(BatchNorm))
def test_verify_measures_as_in_train_mode_or_in_eval_mode(
    tmp_path: Path, bn: BatchNorm, training: bool
) -> None:
    model = randomized_residual()
    path = export_with_batch_norm(model, tmp_path / "m.onnx", (3, 9, 9), training)
    samples = save_samples(tmp_path, (3, 9, 9), COUNT)
    layers = verified(path, samples, bn).layers
    model.train(bn is BatchNorm.BATCH)
    batch = np.load(samples)
    outputs = kept_values(model, batch, "stem", "conv1", "conv2", "fc")
    for layer, output in zip(layers, outputs, strict=True):
        assert layer.moments is not None
        assert layer.distribution is not None
        assert layer.moments.blob_mean == pytest.approx(output.mean(), rel=1e-4, abs=1e-5)
        assert layer.moments.blob_variance == pytest.approx(output.var(), rel=1e-4)
        edges = layer.distribution.edges
        inside = np.clip(output.ravel(), edges[0], np.nextafter(edges[-1], -np.inf))
        counts, _ = np.histogram(inside, edges)
        assert layer.distribution.shares == pytest.approx(counts / counts.sum(), abs=1e-3)
    for layer, normalised in zip(layers, kept_values(model, batch, "bn1", "bn2"), strict=False):
        assert layer.distribution is not None
        zeros = (normalised <= 0).mean()
        assert layer.distribution.saturated == pytest.approx(zeros, abs=1e-4)


def test_verify_agrees_with_compare_and_with_init(tmp_path: Path) -> None:
    """Figures equal those of compare, and written weights are right with both statistics."""
    path = export_with_batch_norm(randomized_residual(), tmp_path / "m.onnx", (3, 9, 9))
    samples = save_samples(tmp_path, (3, 9, 9), COUNT)
    options = CompareOptions(
        model=path,
        samples=SampleOptions((str(samples),)),
        batch_size=16,
        device="cpu",
        inits=(Init.KEEP,),
        backward=False,
    )
    (compared,) = compare_inits(options, Silent()).inits
    found = [(one.blob_mean, one.blob_variance) for _, one in sorted(compared.forward.items())]
    assert moments(verified(path, samples, BatchNorm.BATCH)) == found
    out = tmp_path / "w.safetensors"
    run(path, samples, out=out, count=COUNT, batch_size=16)
    for bn in BatchNorm:
        assert not verified(path, samples, bn, weights=out).failures


@pytest.mark.processes
def test_verify_takes_the_statistics_of_all_processes(
    tmp_path: Path, lsuv: Run, processes: Processes
) -> None:
    export_with_batch_norm(randomized_residual(), tmp_path / "m.onnx", (3, 9, 9))
    np.save(tmp_path / "x.npy", random_weight(COUNT, 3, 9, 9))
    command = ("verify", "m.onnx", "--data", "x.npy", "--batch-size", 8, "--json")
    one = lsuv(*command)
    processes.by_hand(2, "-m", "lsuv_cli", *command)
    assert processes.codes() == [one.returncode] * 2 == [4, 4], processes.stderr
    alone, together = json.loads(one.stdout), json.loads(processes.stdout)
    assert together["samples"]["processes"] == 2
    for layer, other in zip(alone["layers"], together["layers"], strict=True):
        assert layer["measured"] == pytest.approx(other["measured"], rel=1e-5, abs=1e-6)
        assert layer["distribution"]["shares"] == pytest.approx(
            other["distribution"]["shares"], abs=1e-3
        )


def test_verify_shows_nothing_of_what_is_not_finite(tmp_path: Path, lsuv: Run) -> None:
    """There is neither a share of dead channels nor a warning from numpy."""
    model = randomized_residual()
    export_with_batch_norm(model, tmp_path / "m.onnx", (3, 9, 9))
    save_samples(tmp_path, (3, 9, 9), COUNT)
    for value in (np.nan, np.inf):
        state = {name: one.numpy().copy() for name, one in model.state_dict().items()}
        state["conv1.bias"][0] = value
        save_file(state, tmp_path / "broken.safetensors")
        command = ("verify", "m.onnx", "broken.safetensors", "--data", "samples.npy", "--json")
        done = lsuv(*command)
        assert done.returncode == 4, done.stderr
        assert "Warning" not in done.stderr
        first, *others = json.loads(done.stdout)["layers"]
        assert first["distribution"]["dead"] == 0
        assert {one["status"] for one in others} == {"non_finite"}
        assert [one["distribution"] for one in others] == [None] * 3
        rows = [line.split() for line in done.stderr.splitlines() if line.startswith("conv1")]
        assert rows[0][-3:] == ["-", "-", "non_finite"]
