"""Modules in memory: initialised in place or as a state_dict, and otherwise as they were."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import lsuv_cli
from lsuv_cli import LsuvError, LsuvWarning, compare, initialize, initialize_, inspect, verify
from lsuv_cli.api.in_place import load_in_place
from support.layer_outputs import off_target, outputs_by_layer
from support.roads import silenced
from support.torch_batch_norm import randomized_residual
from support.torch_models import MODELS, built, example

pytestmark = pytest.mark.usefixtures("quick_exporter")

SAMPLES = 16


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(),
        nn.Dropout(), nn.Linear(80, 7), nn.Tanh(), nn.Linear(7, 3),
    )  # fmt: skip


def pictures() -> Tensor:
    return torch.randn(40, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def numpy_state() -> Any:
    return np.random.get_state()  # noqa: NPY002 - what users' transforms draw from


def signature(module: nn.Module) -> dict[str, Any]:
    return {name: (v.shape, v.dtype, v.data_ptr()) for name, v in module.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_network(name: str) -> None:
    model, inputs = built(name), example(name)
    batch = inputs[0] if len(inputs) == 1 else inputs
    before = signature(model)
    report = initialize_(model, [batch], device="cpu", tol=1e-4)
    assert report.converged
    assert signature(model) == before
    first = {name: values[:1] for name, values in outputs_by_layer(model, inputs).items()}
    assert not off_target(first)


def test_nothing_else_is_changed() -> None:
    model = network().train()
    model[0].eval()
    seen: list[Any] = []
    model[5].register_forward_hook(lambda *call: seen.append(call))
    hooks = [list(one._forward_hooks) for one in model.modules()]
    modes = [one.training for one in model.modules()]
    model[1].num_batches_tracked.fill_(7)  # type: ignore[operator]
    model[7].weight.grad = torch.ones_like(model[7].weight)  # type: ignore[arg-type]
    states = torch.get_rng_state(), random.getstate(), str(numpy_state())
    fast, grad = torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled()
    kept = copy.deepcopy(model.state_dict())
    loader = DataLoader(TensorDataset(pictures(), torch.arange(40)), batch_size=16, shuffle=True)
    assert initialize(model, loader).converged
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert initialize_(model, loader).converged
    assert [list(one._forward_hooks) for one in model.modules()] == hooks
    assert [one.training for one in model.modules()] == modes
    assert model[1].num_batches_tracked == 7
    assert torch.equal(model[7].weight.grad, torch.ones_like(model[7].weight))  # type: ignore[arg-type]
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert str(numpy_state()) == states[2]
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert torch.is_grad_enabled() == grad
    changed = {name for name, one in model.named_parameters() if not torch.equal(one, kept[name])}
    assert changed == {"0.weight", "5.weight", "5.bias", "7.weight", "7.bias"}


def test_the_state_dict_that_is_returned() -> None:
    model = randomized_residual()
    x = torch.randn(SAMPLES, 3, 9, 9)
    state = initialize(model, x).state_dict()
    assert list(state) == list(model.state_dict())
    model.load_state_dict(state, strict=True)
    for mode in (model.eval(), model.train()):
        assert not off_target(outputs_by_layer(mode, (x,)))
    again = initialize(randomized_residual(), x, seed=0).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in state.items())


class Pictures(Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return pictures()[index], index


class Stream(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        yield from ((picture, 0) for picture in pictures())


def one_by_one() -> Iterator[list[Tensor]]:
    yield from ([picture[None], torch.zeros(1)] for picture in pictures())


@pytest.mark.parametrize(
    "make",
    [
        pictures,
        lambda: pictures().numpy(),
        lambda: {"input": pictures()},
        lambda: {"image": pictures(), "label": torch.arange(40)},
        lambda: [pictures()[:25], pictures()[25:]],
        lambda: DataLoader(TensorDataset(pictures(), torch.arange(40)), batch_size=16),
        Pictures,
        Stream,
        one_by_one,
    ],
    ids=[
        "tensor",
        "array",
        "mapping",
        "record",
        "list",
        "loader",
        "dataset",
        "stream",
        "generator",
    ],
)
def test_samples_of_every_kind(make: Callable[[], Any]) -> None:
    expected = initialize(network(), pictures()).weights
    found = initialize(network(), make())
    assert found.report.samples == 40
    assert all(np.array_equal(value, found.weights[name]) for name, value in expected.items())


def test_a_path_to_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pictures().numpy())
    assert initialize(network(), tmp_path / "x.npy").report.samples == 40


class Scripted(nn.Module):
    """Decides in Python, by sizes or by values."""

    def __init__(self, *, by_value: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
        self.by_value = by_value

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if (x.sum() > -1e9) if self.by_value else (x.shape[1] % 2 == 0):
            x = x.relu()
        y: Tensor = self.last(x)
        return y


class Configured(nn.Module):
    """Chooses an implementation by a configuration, as transformers does."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(_attn_implementation="flash_attention_2")
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.config._attn_implementation != "sdpa":
            raise RuntimeError("no flash on the CPU")
        y: Tensor = self.fc(x)
        return y


class Norms(nn.Module):
    """RMSNorm, which the older exporter does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.RMSNorm(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc(self.norm(x))
        return y


class Tied(nn.Module):
    """Names of inputs and of PyTorch's graphs, ties, an unused layer, a transient buffer."""

    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.code, self.x = nn.Linear(6, 6), nn.Parameter(torch.ones(6))
        self.tied, self.unused = nn.Linear(6, 6, bias=False), nn.Linear(3, 2)
        self.tied.weight = self.code.weight
        self.register_buffer("index", torch.arange(6).flip(0), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": self.tied(self.code(x + self.x).index_select(1, self.index))}


@pytest.mark.parametrize(
    "make", [Norms, Tied, lambda: Scripted(by_value=False), lambda: Scripted(by_value=True)]
)
def test_other_roads(make: Callable[[], nn.Module], recwarn: pytest.WarningsRecorder) -> None:
    torch.manual_seed(0)
    model, x = make(), torch.randn(SAMPLES, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        report = initialize_(model.eval(), x)
    assert report.converged
    assert list(report.state_dict()) == list(model.state_dict())
    assert not off_target(outputs_by_layer(model, (x,)), passed_over=["tied"])
    told = [str(one.message) for one in recwarn if isinstance(one.message, LsuvWarning)]
    by_value = isinstance(model, Scripted) and model.by_value
    assert any("is fixed as the first samples have it" in text for text in told) == by_value


def test_an_implementation_that_exporters_know() -> None:
    model, x = Configured(), torch.randn(SAMPLES, 6)
    assert initialize_(model, x).converged
    assert model.config._attn_implementation == "flash_attention_2"


def test_an_exported_program_and_a_script() -> None:
    model, x = network().eval(), pictures()
    kept = copy.deepcopy(model.state_dict())
    batch = torch.export.Dim("batch")
    with silenced():
        program = torch.export.export(model, (x[:2],), dynamic_shapes=({0: batch},))
        trace: Any = torch.jit.trace(model, x[:2])  # type: ignore[no-untyped-call]
    initialize_(program, x)
    expected = copy.deepcopy(program.state_dict)
    assert not all(torch.equal(value, expected[name]) for name, value in kept.items())
    for other in (trace, model):
        other.load_state_dict(kept)
        initialize_(other, x)
        assert other.state_dict().keys() == expected.keys()
        for name, value in other.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_wrappers() -> None:
    for wrap in (torch.compile, nn.DataParallel):
        inner = network()
        outer: Any = wrap(inner)
        state = initialize_(outer, pictures()).state_dict()
        assert state.keys() == outer.state_dict().keys()
        assert not off_target(
            outputs_by_layer(inner.train(), (pictures(),)), passed_over=["5", "7"]
        )


class Stateful(nn.Module):
    """An extra state, a complex buffer, and a forward with side effects."""

    phase: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.count = nn.Linear(6, 3), 0
        self.register_buffer("phase", torch.ones(2, dtype=torch.complex64))
        self.register_buffer("calls", torch.zeros(1))

    def get_extra_state(self) -> dict[str, int]:
        return {"count": self.count}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.count = state["count"]

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.calls += 1
        y: Tensor = self.fc(x)
        return y


def test_side_effects_and_what_is_no_tensor() -> None:
    model, x = Stateful(), torch.randn(SAMPLES, 6)
    state = initialize(model, x).state_dict()
    assert (model.count, model.calls.item()) == (0, 0)
    assert list(state) == list(model.state_dict())
    assert state["_extra_state"] == {"count": 0}
    model.load_state_dict(state, strict=True)
    initialize_(model, x)
    assert (model.count, model.calls.item()) == (0, 0)


def test_hooks_that_change_what_is_computed() -> None:
    """They are part of the network; hooks that only look are not run on what is not real."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3)).eval(), torch.randn(SAMPLES, 6)
    handle = model[0].register_forward_hook(lambda _module, _inputs, output: output * 5 + 1)
    initialize_(model, x)
    handle_free = model[1](model[0](x))
    assert handle_free.var(correction=0).item() == pytest.approx(1, abs=1e-3)
    handle.remove()


def test_half_precision_and_old_weight_norm() -> None:
    torch.manual_seed(0)
    x = torch.randn(SAMPLES, 6)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)).to(dtype)
        initialize_(model, x)
        assert {one.dtype for one in model.parameters()} == {dtype}
        variance = model[0](x.to(dtype)).double().var(correction=0).item()
        assert variance == pytest.approx(1, abs=2e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = nn.Sequential(torch.nn.utils.weight_norm(nn.Linear(6, 6)), nn.Linear(6, 3))
    old(x)  # computes a weight that copy.deepcopy refuses
    initialize_(old, x)
    assert old[0](x).var(correction=0).item() == pytest.approx(1, abs=1e-3)


class Singular(nn.Module):
    """Holds an operator that no exporter knows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.linalg.svdvals(self.inner(x)[:, :, None])
        return y


class Locked(nn.Linear):
    def __deepcopy__(self, memo: object) -> Any:
        raise TypeError("cannot pickle a lock")


@pytest.mark.parametrize(
    ("model", "samples", "says"),
    [
        (Singular(), torch.randn(4, 6), "Singular can't be converted to ONNX: .*linalg_svd"),
        (Locked(6, 3), torch.randn(4, 6), "Locked can't be copied .*cannot pickle a lock"),
        (nn.LazyLinear(3), torch.randn(4, 6), "weight has no shape yet; run the module once"),
        (nn.Linear(6, 3, device="meta"), torch.randn(4, 6), "is on the device meta"),
        (nn.Linear(6, 3), torch.randn(4, 5), "Linear can't be called on these samples: .*4x5 and"),
        (nn.Linear(6, 3), [], "the iterable gave no batch"),
        (nn.Linear(6, 3), [{"a": "text"}], "no array with samples"),
        (nn.ReLU(), torch.randn(4, 6), "holds no floating-point weights"),
        ("m.onnx", torch.randn(4, 6), "type str can't be changed in place"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_can_not_be_used(model: Any, samples: Any, says: str) -> None:
    with pytest.raises(LsuvError, match=says) as caught:
        initialize_(model, samples)
    assert "\n" not in str(caught.value)


def test_an_interrupt_leaves_the_module_as_it_was() -> None:
    model = network().train()
    kept = copy.deepcopy(model.state_dict())

    def interrupted() -> Iterator[Tensor]:
        yield pictures()[:8]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        initialize_(model, interrupted())
    assert model.training
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())


def test_values_are_put_back_after_an_error() -> None:
    state = {"a": torch.zeros(3), "b": torch.zeros(2)}
    with pytest.raises(RuntimeError):
        load_in_place(state, {"a": torch.ones(3), "b": torch.ones(4, 5)})
    assert not state["a"].any()


def test_results_print_as_the_command_shows_them() -> None:
    model, x = network(), pictures()
    done = initialize_(model, x)
    lines = str(done).splitlines()
    assert lines[0].split()[:3] == ["layer", "op", "weight"]
    assert lines[-1].startswith("3 layers: 3 converged, largest |Var-1| ")
    assert done._repr_html_().count("<tr>") == 4
    assert '<td style="text-align:left;color:seagreen">converged</td>' in done._repr_html_()
    judged = verify(model, x)
    assert judged.within
    assert str(judged).splitlines()[-1].startswith("3 layers: 3 within")
    assert judged._repr_html_().count("<tr>") == 4
    compared = compare(model, x, inits=("lsuv", "keep"), backward=False)
    assert "3 layers with lsuv, keep: 40 samples" in str(compared)
    assert "<th>keep forward</th>" in compared._repr_html_()
    inspected = lsuv_cli.inspect(model, x[:2])
    assert "name in the file of weights" in str(inspected)
    assert inspected._repr_html_().count("<tr>") == 4
    assert repr(inspected) == "<Inspected: 3 layers>"
    assert repr(judged) == "<Verified: 3 layers, 0 of them outside the tolerance, 40 samples>"
    assert repr(compared) == "<Compared: 3 layers with lsuv, keep>"


def test_options() -> None:
    model, x = network(), pictures()
    done = initialize_(model, x, target={"5*": 0.5}, exclude="7*", per="channel", bias="center")
    by_weight = {one.planned.layer.weight_name: one for one in done.report.layers}
    assert by_weight["5.weight"].planned.target_std == 0.5
    assert str(by_weight["7.weight"].status) == "excluded"
    sizes = lsuv_cli.inspect(model, input_shapes={"input": (2, 6, 6)}).report.inputs[0].spec.shape
    assert sizes == (None, 2, 6, 6)
    embedding = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2))
    found = lsuv_cli.inspect(embedding, input_shapes={"input": (5,)})
    assert len(found.report.layers) == 1
    for option, says in (
        ({"target": 3}, "target 3: not a mapping"),
        ({"input_shapes": {"x": "a"}}, "sizes are whole numbers"),
    ):
        with pytest.raises(LsuvError, match=says):
            initialize(model, x, **option)
    with pytest.raises(LsuvError, match="give each once"):
        compare(model, x, inits=["he", "he"])


class WithHelper(nn.Module):
    """A network whose second head runs in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.helper = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        """Return logits, in training twice."""
        y = torch.relu(self.body(x))
        return (self.head(y), self.helper(y)) if self.training else self.head(y)


def test_layers_that_never_run_are_named() -> None:
    model, x = WithHelper(), torch.randn(32, 6)
    before = model.helper.weight.clone()
    never = ("helper.weight (weight): the network never reads it",)
    with pytest.warns(match="left as they are: helper.weight"):
        assert inspect(model, x).report.left_alone == never
    with pytest.warns(match="left as they are: helper.weight"):
        assert initialize_(model, x, count="all").report.left_alone == never
    assert torch.equal(model.helper.weight, before)
