"""BatchNormalization: with the samples' statistics or with its own, checked in PyTorch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_oracle import run, save_samples
from torch import Tensor, nn

from lsuv_cli.core.choices import BatchNorm, Bias, Status

Array = NDArray[Any]


class Residual(nn.Module):
    """Convolutions with BatchNorm behind and before, a residual sum, and one at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(8, eps=0.1)
        self.fc = nn.Linear(8, 6)
        self.bn4 = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.bn1(self.stem(x)))
        x = x + self.conv2(torch.relu(self.bn2(self.conv1(x))))
        x = torch.relu(self.bn3(x)).mean((2, 3))
        result: Tensor = self.bn4(self.fc(x))
        return result


def export(model: nn.Module, path: Path, shape: tuple[int, ...], training: bool = False) -> Path:
    """Export with BatchNorm kept, as the documentation tells users to."""
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(2, *shape),),
            str(path),
            dynamo=False,
            training=mode,
            do_constant_folding=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )
    return path


def variances(model: nn.Module, batch: Array) -> dict[str, float]:
    """The variance of every convolution's and linear layer's output, by hooks."""
    found: dict[str, float] = {}

    def hook(name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found[name] = output.double().var(correction=0).item()

        return note

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        model(torch.from_numpy(batch))
    for handle in handles:
        handle.remove()
    return found


def unsettled() -> Residual:
    """A network whose BatchNorms are not those of a new one."""
    torch.manual_seed(0)
    model = Residual()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.1, 3)
    return model.eval()


@pytest.mark.parametrize("bias", list(Bias))
@pytest.mark.parametrize("training", [False, True])
def test_batch_statistics(tmp_path: Path, bias: Bias, training: bool) -> None:
    """Unit variance in train mode, as at the first step, and in eval mode afterwards."""
    model = unsettled()
    path = export(model, tmp_path / "m.onnx", (3, 9, 9), training)
    samples = save_samples(tmp_path, (3, 9, 9))
    report, written = run(path, samples, bias=bias)
    assert {result.status for result in report.layers} == {Status.CONVERGED}
    state = {name: torch.from_numpy(value) for name, value in written.items()}
    model.load_state_dict(state, strict=True)
    batch = np.load(samples)
    for found in (variances(model.eval(), batch), variances(model.train(), batch)):
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
        assert written[name].tobytes() == unsettled().state_dict()[name].numpy().tobytes()


def test_running_statistics_are_kept(tmp_path: Path) -> None:
    model = unsettled()
    path = export(model, tmp_path / "m.onnx", (3, 9, 9))
    samples = save_samples(tmp_path, (3, 9, 9))
    report, written = run(path, samples, bn=BatchNorm.RUNNING)
    assert {result.status for result in report.layers} == {Status.CONVERGED}
    for name, value in model.state_dict().items():
        if "running" in name:
            assert written[name].tobytes() == value.numpy().tobytes()
    state = {name: torch.from_numpy(value) for name, value in written.items()}
    model.load_state_dict(state, strict=False)
    for variance in variances(model.eval(), np.load(samples)).values():
        assert variance == pytest.approx(1, abs=2e-5)


def test_equal_batch_norms_get_their_own_statistics(tmp_path: Path) -> None:
    """The exporter stores new BatchNorms' equal parameters once; each is written by its name.

    With the step counters, which the file does not hold at all, so that PyTorch finds every name.
    """
    torch.manual_seed(0)
    model = Residual().eval()
    path = export(model, tmp_path / "m.onnx", (3, 9, 9))
    samples = save_samples(tmp_path, (3, 9, 9))
    _, written = run(path, samples)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)
    for found in (
        variances(model.eval(), np.load(samples)),
        variances(model.train(), np.load(samples)),
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
    path = export(model, tmp_path / "m.onnx", (3, 8, 8))
    samples = save_samples(tmp_path, (3, 8, 8))
    report, written = run(path, samples)
    statuses = [result.status for result in report.layers]
    assert statuses == [Status.CONVERGED, Status.SHARED, Status.SHARED, Status.CONVERGED]
    assert not written["norm.running_mean"].any()
    model.load_state_dict({key: torch.from_numpy(value) for key, value in written.items()})
    with torch.no_grad():
        output = model(torch.from_numpy(np.load(samples)))
    assert output.double().var(correction=0).item() == pytest.approx(1, abs=2e-5)
