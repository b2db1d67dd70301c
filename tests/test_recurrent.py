"""LSTM, GRU and RNN: input projections of unit variance, orthonormal recurrent matrices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

from lsuv_cli.core.choices import Bias, Per, PreInit, Status
from lsuv_cli.layers.left_alone import layers_left_alone
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import in_normal_form, node, random_weight, save_graph
from support.inference import outputs_of
from support.initialization import run
from support.sample_files import save_batch, save_samples
from support.torch_export import EXPORTERS, export, save_torchscript
from support.torch_recurrent import HIDDEN, INPUTS, Recurrent

Array = NDArray[Any]
W = random_weight

STEPS, BATCH = 7, 16
KINDS = {"LSTM": 4, "GRU": 3, "RNN": 1}
TORCH_FORGET = 1  # PyTorch's LSTM has the gates i, f, g, o


def built(kind: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return Recurrent(kind).eval(), torch.randn(BATCH, STEPS, INPUTS)


def inputs_of_layers(module: nn.RNNBase, value: Tensor) -> list[Tensor]:
    """What enters each layer of a module of several: what one of its layers makes of the last."""
    values = []
    for index in range(module.num_layers):
        values.append(value)
        layer: Callable[..., nn.RNNBase] = type(module)
        both = module.bidirectional
        one = layer(value.shape[-1], HIDDEN, bidirectional=both, batch_first=True)
        own = {
            name.replace("l0", f"l{index}"): parameter for name, parameter in one.named_parameters()
        }
        for name, parameter in own.items():
            parameter.copy_(getattr(module, name))
        value, _ = one(value)
    return values


def check_tensor(name: str, tensor: Tensor, value: Tensor, gates: int, old: Tensor) -> None:
    """Each gate's part of a tensor of a layer whose input is `value`."""
    for gate, part in enumerate(tensor.chunk(gates)):
        if "weight_ih" in name:
            variance = (value @ part.T).double().var(correction=0).item()
            assert variance == pytest.approx(1, abs=2e-5), (name, gate)
        elif "weight_hh" in name:
            assert (part @ part.T - torch.eye(HIDDEN)).abs().max() < 1e-6, (name, gate)
        elif gates == KINDS["LSTM"] and gate == TORCH_FORGET:
            assert torch.equal(part, old.chunk(gates)[gate])
        else:
            assert not part.any(), (name, gate)


def check_in_pytorch(model: nn.Module, x: Tensor, fresh: dict[str, Tensor]) -> None:
    """Every gate of every layer, on the layer's own input, computed by PyTorch alone."""
    inputs: dict[str, Tensor] = {}
    modules = {n: m for n, m in model.named_modules() if isinstance(m, nn.RNNBase)}
    for name, module in modules.items():
        module.register_forward_hook(
            lambda _m, args, _out, name=name: inputs.__setitem__(name, args[0])
        )
    with torch.no_grad():
        output = model(x)
        for name, module in modules.items():
            values = inputs_of_layers(module, inputs[name])
            for key, tensor in module.named_parameters():
                value = values[int(key.split("_l")[1][0])]
                gates = KINDS[module.mode.partition("_")[0]]
                check_tensor(f"{name}.{key}", tensor, value, gates, fresh[f"{name}.{key}"])
    assert output.double().var(correction=0).item() == pytest.approx(1, abs=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_from_pytorch(tmp_path: Path, kind: str) -> None:
    """Whatever the exporter, PyTorch gets the same weights, and they hold there."""
    found = []
    # The newer exporter unrolls an RNN; see test_unrolled_by_the_exporter.
    for exporter in EXPORTERS[: 2 if kind == "RNN" else 3]:
        model, x = built(kind)
        fresh = {key: value.clone() for key, value in model.state_dict().items()}
        export(model, (x,), tmp_path / "m.onnx", exporter)
        report, written = run(
            tmp_path / "m.onnx", save_batch(tmp_path, (x,)), count=BATCH, names="torch"
        )
        statuses = [result.status for result in report.layers]
        assert statuses.count(Status.CONVERGED) == 5 * KINDS[kind] + 1, exporter
        assert statuses.count(Status.UNSCALED) == 5 * KINDS[kind], exporter
        assert len(statuses) == 10 * KINDS[kind] + 1, exporter
        model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)
        check_in_pytorch(model, x, fresh)
        found.append(written)
    for others in found[1:]:
        for key, value in found[0].items():
            np.testing.assert_allclose(others[key], value, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("form", ["traced", "scripted"])
@pytest.mark.parametrize("kind", KINDS)
def test_torchscript(tmp_path: Path, kind: str, form: str) -> None:
    model, x = built(kind)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    save_torchscript(model, (x,), tmp_path / "m.pt", form)
    np.save(tmp_path / "x.npy", x.numpy())
    _, written = run(tmp_path / "m.pt", tmp_path / "x.npy", count=BATCH)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)
    check_in_pytorch(model, x, fresh)


def test_unrolled_by_the_exporter(tmp_path: Path) -> None:
    """The recurrent matrix is a layer used at each step; at the first its input is zero."""
    model, x = built("RNN")
    export(model, (x,), tmp_path / "m.onnx", "dynamo")
    report, written = run(
        tmp_path / "m.onnx", save_batch(tmp_path, (x,)), count=BATCH, names="torch", tol=1e-4
    )
    model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)
    by_weight: dict[str, list[Status]] = {}
    for result in report.layers:
        by_weight.setdefault(result.planned.layer.weight_name, []).append(result.status)
    assert len(by_weight) == 11
    for weight, statuses in by_weight.items():
        if "weight_hh" in weight:
            rest = [Status.SHARED] * (STEPS - 2)
            assert statuses == [Status.SHARED, Status.CONVERGED, *rest]
        else:
            assert statuses == [Status.CONVERGED]
    with torch.no_grad():
        state = torch.tanh(x[:, 0] @ torch.from_numpy(written["rnn.weight_ih_l0"]).T)
        second = state @ torch.from_numpy(written["rnn.weight_hh_l0"]).T
    assert second.double().var(correction=0).item() == pytest.approx(1, abs=1e-4)


def lstm(inputs: str, outputs: str, **more: Any) -> onnx.NodeProto:
    made = [name if name != "-" else "" for name in outputs.split()]
    given = [name if name != "-" else "" for name in inputs.split()]
    return helper.make_node("LSTM", given, made, name="cell", hidden_size=HIDDEN, **more)


def other(op: str, inputs: str, outputs: str, **more: Any) -> onnx.NodeProto:
    one = lstm(inputs, outputs, **more)
    one.op_type = op
    return one


def parameters(gates: int, directions: int) -> dict[str, Array]:
    return {
        "w": W(directions, gates * HIDDEN, INPUTS),
        "r": W(directions, gates * HIDDEN, HIDDEN, seed=1) * np.float32(0.3),
        "b": W(directions, 2 * gates * HIDDEN, seed=2),
        "h": W(directions, STEPS, HIDDEN, seed=3),
        "c": W(directions, STEPS, HIDDEN, seed=4),
        "p": W(directions, 3 * HIDDEN, seed=5),
        "n": np.array([3, 7, 7, 1, 2, 7, 5], np.int32),
    }


# The data is (n, STEPS, INPUTS) as (steps, batch, inputs): 8 steps of a batch of 7.
FORMS: dict[str, tuple[onnx.NodeProto, int]] = {
    "plain": (lstm("x w r b", "y"), 1),
    "without biases": (lstm("x w r", "y"), 1),
    "states": (lstm("x w r b - h c", "y"), 1),
    "lengths and peepholes": (lstm("x w r b n h c p", "y h1 c1"), 1),
    "reverse": (lstm("x w r b", "y", direction="reverse"), 1),
    "last state only": (lstm("x w r b", "- y"), 1),
    "both directions": (lstm("x w r b n h c p", "y h1 c1", direction="bidirectional"), 2),
    "both, last states only": (lstm("x w r b", "- y c1", direction="bidirectional"), 2),
    "activations": (
        lstm(
            "x w r b",
            "y",
            direction="bidirectional",
            activations=["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Relu", "Softsign"],
        ),
        2,
    ),
    "clipped and coupled": (lstm("x w r b", "y", clip=0.5, input_forget=1), 1),
    "GRU": (other("GRU", "x w r b", "y"), 1),
    "GRU, reset before": (other("GRU", "x w r b - h", "y h1", linear_before_reset=1), 1),
    "GRU, both": (other("GRU", "x w r b", "y", direction="bidirectional"), 2),
    "RNN": (other("RNN", "x w r b", "y", activations=["Relu"]), 1),
    "RNN, both": (other("RNN", "x w r", "y h1", direction="bidirectional"), 2),
}


def saved(path: Path, cell: onnx.NodeProto, directions: int, opset: int = 17) -> Path:
    weights = parameters(KINDS[cell.op_type], directions)
    used = {name: value for name, value in weights.items() if name in cell.input}
    first = next(name for name in cell.output if name)
    nodes = [cell, node("ReduceMax", first, "m", axes=[0], keepdims=0), node("MatMul", "m v", "z")]
    used["v"] = W(HIDDEN, 4)
    return save_graph(path, nodes, used, ("n", STEPS, INPUTS), opset=opset)


@pytest.mark.parametrize("opset", [7, 11, 17])
@pytest.mark.parametrize("form", FORMS)
def test_taken_apart_they_compute_the_same(tmp_path: Path, form: str, opset: int) -> None:
    cell, directions = FORMS[form]
    path = saved(tmp_path / "m.onnx", cell, directions, opset)
    feeds = {"x": W(8, STEPS, INPUTS, seed=9)}
    expected = outputs_of(onnx.load(path), feeds)
    found = outputs_of(in_normal_form(path), feeds)
    for one, same in zip(expected, found, strict=True):
        np.testing.assert_allclose(same, one, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_every_gate_has_unit_variance(tmp_path: Path, form: str) -> None:
    cell, directions = FORMS[form]
    samples = save_samples(tmp_path, (STEPS, INPUTS))
    report, written = run(saved(tmp_path / "m.onnx", cell, directions), samples)
    gates = KINDS[cell.op_type]
    assert len(report.layers) == 2 * gates * directions + 1
    assert {r.status for r in report.layers} <= {Status.CONVERGED, Status.UNSCALED}
    x = np.load(samples).astype(np.float64)
    for direction in range(directions):
        for weight in np.split(written["w"][direction], gates):
            assert (x @ weight.T).var() == pytest.approx(1, abs=1e-5)
        for matrix in np.split(written["r"][direction], gates):
            np.testing.assert_allclose(matrix @ matrix.T, np.eye(HIDDEN), atol=1e-6)
    fresh = parameters(gates, directions)
    for name in {"h", "c", "p"} & set(cell.input):
        np.testing.assert_array_equal(written[name], fresh[name])


@pytest.mark.parametrize("per", Per)
@pytest.mark.parametrize("bias", Bias)
def test_biases(tmp_path: Path, bias: Bias, per: Per) -> None:
    samples = save_samples(tmp_path, (STEPS, INPUTS))
    cell, directions = FORMS["both directions"]
    path = saved(tmp_path / "m.onnx", cell, directions)
    _, written = run(path, samples, bias=bias, per=per)
    fresh = parameters(4, 2)["b"].reshape(2, 8, HIDDEN)
    biases = written["b"].reshape(2, 8, HIDDEN)
    x = np.load(samples).astype(np.float64)
    axes = (0, 1) if per is Per.CHANNEL else None
    for direction in range(2):
        for gate, weight in enumerate(np.split(written["w"][direction], 4)):
            own, recurrent = biases[direction, gate], biases[direction, gate + 4]
            forget = gate == 2
            if forget or bias is Bias.KEEP:
                np.testing.assert_array_equal(own, fresh[direction, gate])
                np.testing.assert_array_equal(recurrent, fresh[direction, gate + 4])
            else:
                assert not recurrent.any()
                assert own.any() == (bias is Bias.CENTER)
            output = x @ weight.T + (0 if forget else own)
            np.testing.assert_allclose(output.var(axes), 1, atol=2e-5)
            if bias is Bias.CENTER and not forget:
                np.testing.assert_allclose(output.mean((0, 1)), 0, atol=1e-5)


def test_what_the_model_has_is_kept_or_excluded(tmp_path: Path) -> None:
    samples = save_samples(tmp_path, (STEPS, INPUTS))
    path = saved(tmp_path / "m.onnx", *FORMS["plain"])
    fresh = parameters(4, 1)
    _, written = run(path, samples, pre_init=PreInit.KEEP)
    np.testing.assert_array_equal(written["r"], fresh["r"])
    ratios = (written["w"] / fresh["w"]).reshape(4, -1)
    np.testing.assert_allclose(ratios, ratios[:, :1].repeat(ratios.shape[1], 1), rtol=1e-5)
    report, written = run(path, samples, exclude=("cell.R_*", "cell.W_o"))
    np.testing.assert_array_equal(written["r"], fresh["r"])
    part = slice(HIDDEN, 2 * HIDDEN)
    np.testing.assert_array_equal(written["w"][0, part], fresh["w"][0, part])
    assert sum(result.status is Status.EXCLUDED for result in report.layers) == 5


def test_what_is_left_alone_is_named(tmp_path: Path) -> None:
    cell = lstm("x w r b", "y", direction="bidirectional", activation_alpha=[0.1, 0.2])
    model, _ = read_model(saved(tmp_path / "m.onnx", cell, 2))
    assert layers_left_alone(model) == ["cell (LSTM): this operator is not initialised"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions(tmp_path: Path, dtype: type) -> None:
    cell, directions = FORMS["both directions"]
    path = saved(tmp_path / "m.onnx", cell, directions)
    proto = onnx.load(path)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for tensor in proto.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(dtype), tensor.name))
    for value_info in (*proto.graph.input, *proto.graph.output):
        value_info.type.tensor_type.elem_type = kind
    onnx.save(proto, path)
    samples = save_samples(tmp_path, (STEPS, INPUTS))
    report, written = run(path, samples)
    assert {r.status for r in report.layers} == {Status.CONVERGED, Status.UNSCALED}
    assert written["w"].dtype == written["b"].dtype == dtype
    x = np.load(samples).astype(np.float64)
    weight = written["w"][0, :HIDDEN].astype(np.float64)
    assert (x @ weight.T).var() == pytest.approx(1, abs=2e-3)


def test_the_order_of_layers_that_give_their_last_state_only(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "xt", perm=[1, 0, 2]),
        lstm("xt w1 r1", "- h1"),
        node("MatMul", "h1 m", "q"),
        lstm("xt w2 r2", "- h2"),
        node("Add", "q h2", "z"),
    ]
    nodes[1].name, nodes[3].name = "one", "two"
    weights = {f"w{i}": W(1, 4 * HIDDEN, INPUTS, seed=i) for i in (1, 2)}
    weights |= {f"r{i}": W(1, 4 * HIDDEN, HIDDEN, seed=i) for i in (1, 2)}
    weights["m"] = W(HIDDEN, HIDDEN)
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", STEPS, INPUTS))
    report, _ = run(path, save_samples(tmp_path, (STEPS, INPUTS)))
    stems = [result.planned.layer.name.partition("_")[0] for result in report.layers]
    assert list(dict.fromkeys(stems)) == ["one.W", "one.R", "MatMul", "two.W", "two.R"]


class Twice(nn.Module):
    """One recurrent module that is called twice."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        layer: Callable[..., nn.RNNBase] = getattr(nn, kind)
        self.inner = nn.Linear(INPUTS, HIDDEN)
        self.rnn = layer(HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x, state = self.rnn(torch.relu(self.inner(x)))
        x, _ = self.rnn(x, state)
        result: Tensor = self.head(x)
        return result


@pytest.mark.parametrize("exporter", ["script", "script, unfolded", "dynamo", "traced"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_module_that_is_called_twice(tmp_path: Path, kind: str, exporter: str) -> None:
    torch.manual_seed(0)
    model, x = Twice(kind).eval(), torch.randn(BATCH, STEPS, INPUTS)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    if exporter == "traced":
        save_torchscript(model, (x,), tmp_path / "m.pt", exporter)
        np.save(tmp_path / "x.npy", x.numpy())
        report, written = run(tmp_path / "m.pt", tmp_path / "x.npy", count=BATCH)
    else:
        export(model, (x,), tmp_path / "m.onnx", exporter)
        batch = save_batch(tmp_path, (x,))
        report, written = run(tmp_path / "m.onnx", batch, count=BATCH, names="torch")
    assert sum(r.status is Status.SHARED for r in report.layers) == KINDS[kind]
    model.load_state_dict({k: torch.from_numpy(v) for k, v in written.items()}, strict=True)
    with torch.no_grad():
        first = torch.relu(model.inner(x))
        for key, tensor in model.rnn.named_parameters():
            check_tensor(key, tensor, first, KINDS[kind], fresh[f"rnn.{key}"])
        assert model(x).double().var(correction=0).item() == pytest.approx(1, abs=2e-5)


def test_one_direction_is_excluded_by_its_name(tmp_path: Path) -> None:
    model, x = built("LSTM")
    export(model, (x,), tmp_path / "m.onnx", "script")
    batch = save_batch(tmp_path, (x,))
    excluded = ("rnn.weight_ih_l0", "rnn.weight_hh_l1_reverse[0:5]")
    report, _ = run(tmp_path / "m.onnx", batch, count=BATCH, exclude=excluded)
    found = [r.planned.layer.weight_name for r in report.layers if r.status is Status.EXCLUDED]
    assert len(found) == 5
    assert all(name.startswith(("rnn.weight_ih_l0[", excluded[1])) for name in found)
