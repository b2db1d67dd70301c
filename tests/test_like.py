"""Checkpoints beside a model file: other names for the same tensors, and what the file forgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from lsuv_cli.core.errors import DataError, ModelError
from lsuv_cli.core.options import ApplyOptions, SampleOptions, VerifyOptions
from lsuv_cli.jobs.apply import apply_weights
from lsuv_cli.jobs.verify import verify_weights
from support.layer_cases.computed import EqualLinear
from support.promise import Texts, initialised
from support.roads import Inputs, by_road, input_names, save_samples, silenced
from support.state_cases import Language, Shifted, sequences, tokens

State = dict[str, Tensor]
TIED = ("trace", "script", "dynamo", "unopt")


def state_of(module: nn.Module) -> State:
    """Return a copy of a state_dict, in which nothing is tied."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def one_name(state: State) -> State:
    """Return the tensors of a `Language` under one name each."""
    return {name: value for name, value in state.items() if name != "embed.weight"}


def prefixed(prefix: str) -> Callable[[nn.Module, Path], None]:
    """Return what saves a module as one that is wrapped."""

    def save(module: nn.Module, path: Path) -> None:
        torch.save({prefix + name: value for name, value in module.state_dict().items()}, path)

    return save


SAVED: dict[str, Callable[[nn.Module, Path], object]] = {
    "torch.save": lambda module, path: torch.save(module.state_dict(), path),
    "clones": lambda module, path: save_file(state_of(module), path),
    "save_model": lambda module, path: save_model(module, str(path)),
    "one name": lambda module, path: save_file(one_name(state_of(module)), path),
    "module.": prefixed("module."),
    "_orig_mod.module.": prefixed("_orig_mod.module."),
}


def model_and_samples(
    module: nn.Module, inputs: Inputs, road: str, folder: Path
) -> tuple[Path, Path]:
    with silenced():
        model = by_road(module.eval(), inputs, road, folder)
    return model, save_samples(model, inputs)


def language(road: str, folder: Path) -> tuple[Path, Path]:
    torch.manual_seed(1)
    return model_and_samples(Language(), tokens(), road, folder)


@pytest.fixture(params=SAVED)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The checkpoint of another `Language`, saved in one of the ways of `SAVED`."""
    torch.manual_seed(2)
    suffix = "safetensors" if request.param in ("clones", "save_model", "one name") else "pt"
    path = tmp_path / f"other.{suffix}"
    SAVED[request.param](Language(), path)
    return path


def other_language() -> nn.Module:
    torch.manual_seed(2)
    return Language().eval()


@pytest.mark.parametrize("road", TIED)
def test_a_tied_models_own_checkpoint_is_measured(
    tmp_path: Path, checkpoint: Path, road: str
) -> None:
    model, data = language(road, tmp_path)
    events = Texts()
    report = verify_weights(
        VerifyOptions(
            model=model,
            weights=checkpoint,
            samples=SampleOptions(data=(str(data),), count=None),
            device="cpu",
        ),
        events,
    )
    ids = torch.from_numpy(np.load(data))
    other = other_language()
    with torch.no_grad():
        middle = other.mid(other.embed(ids))  # type: ignore[operator]
        expected = [middle.var(correction=0).item(), other(ids).var(correction=0).item()]
    found = [one.moments.blob_variance for one in report.layers if one.moments is not None]
    assert found == pytest.approx(expected, rel=1e-4)
    said = [text for text in events.texts if "passed over" in text]
    assert len(said) == (".pt" in checkpoint.name and "module" in first_name(checkpoint))


def first_name(path: Path) -> str:
    return str(next(iter(torch.load(path))))


@pytest.mark.parametrize("road", TIED)
def test_a_tied_models_own_checkpoint_is_applied(
    tmp_path: Path, checkpoint: Path, road: str
) -> None:
    model, data = language(road, tmp_path)
    out = tmp_path / f"new{model.suffix}"
    apply_weights(ApplyOptions(model=model, weights=checkpoint, out=out), Texts())
    ids = np.load(data)
    with torch.no_grad():
        expected = other_language()(torch.from_numpy(ids))
    if model.suffix == ".pt":
        script: Any = torch.jit.load(out)  # type: ignore[no-untyped-call]
        found = script(torch.from_numpy(ids))
    else:
        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        (result,) = session.run(None, {input_names(model)[0]: ids})
        found = torch.from_numpy(result)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("road", TIED)
def test_both_names_are_written_for_a_checkpoint(
    tmp_path: Path, checkpoint: Path, road: str
) -> None:
    run = initialised(*language(road, tmp_path), like=checkpoint)
    assert run.code == 0, run.texts
    assert run.tensors.keys() == Language().state_dict().keys()
    assert np.array_equal(run.tensors["embed.weight"], run.tensors["head.weight"])


@pytest.mark.parametrize("road", TIED)
def test_two_values_for_a_tied_tensor_are_refused(tmp_path: Path, road: str) -> None:
    model, data = language(road, tmp_path)
    state = state_of(Language())
    state["head.weight"] += 1
    torch.save(state, tmp_path / "torn.pt")
    with pytest.raises(DataError, match=r"embed.weight and head.weight differ, but are one"):
        verify_weights(
            VerifyOptions(
                model=model,
                weights=tmp_path / "torn.pt",
                samples=SampleOptions(data=(str(data),)),
                device="cpu",
            ),
            Texts(),
        )


class Shared(nn.Module):
    """Names of one tensor, of which only some are used."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.words = nn.Embedding(20, 8), nn.Embedding(20, 8)
        self.words.weight = self.shared.weight
        self.head = nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        result: Tensor = self.head(self.words(ids))
        return result


@pytest.mark.parametrize(("road", "code"), [("script", 0), ("trace", 0), ("unopt", 3)])
def test_a_name_that_no_module_uses_is_added_for_a_checkpoint(
    tmp_path: Path, road: str, code: int
) -> None:
    module = Shared().eval()
    files = model_and_samples(module, tokens(), road, tmp_path)
    torch.save(module.state_dict(), tmp_path / "like.pt")
    alone = initialised(*files)
    assert alone.code == code, alone.texts
    if code:
        assert "the network does not read shared.weight" in alone.texts[-1]
    run = initialised(*files, like=tmp_path / "like.pt")
    assert run.code == 0, run.texts
    Shared().load_state_dict(
        {name: torch.from_numpy(np.array(value)) for name, value in run.tensors.items()}
    )
    assert np.array_equal(run.tensors["shared.weight"], run.tensors["words.weight"])


class Unread(nn.Module):
    """A head that the forward does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x)
        return result


def test_what_the_network_does_not_read_comes_from_the_checkpoint(tmp_path: Path) -> None:
    module = Unread().eval()
    files = model_and_samples(module, (torch.randn(16, 8),), "unopt", tmp_path)
    torch.save(module.state_dict(), tmp_path / "like.pt")
    refused = initialised(*files)
    assert refused.code == 3
    assert "the network does not read head.weight, head.bias" in refused.texts[-1]
    assert "torch.export.save(torch.export.export(model, args), 'model.pt2')" in refused.texts[-1]
    run = initialised(*files, like=tmp_path / "like.pt")
    assert run.code == 0, run.texts
    state = {name: torch.from_numpy(np.array(value)) for name, value in run.tensors.items()}
    Unread().load_state_dict(state)
    assert torch.equal(state["head.weight"], module.head.weight)
    assert any("taken from --like" in text for text in run.texts)
    report = verify_weights(
        VerifyOptions(
            model=files[0],
            weights=tmp_path / "like.pt",
            samples=SampleOptions(data=(str(files[1]),)),
            device="cpu",
        ),
        Texts(),
    )
    assert len(report.layers) == 1


def test_a_buffer_in_doubt_is_left_to_the_checkpoint(tmp_path: Path) -> None:
    module = Shifted().eval()
    files = model_and_samples(module, (torch.randn(16, 8),), "trace", tmp_path)
    torch.save(module.state_dict(), tmp_path / "like.pt")
    alone = initialised(*files)
    assert alone.code == 0, alone.texts
    assert alone.tensors.keys() == {"fc.weight", "fc.bias", "idx"}
    (warning,) = [text for text in alone.texts if text.startswith("warning: ")]
    assert "idx" in warning
    assert "--like CHECKPOINT decides" in warning
    run = initialised(*files, like=tmp_path / "like.pt")
    assert run.code == 0, run.texts
    assert run.tensors.keys() == module.state_dict().keys()
    assert "left out, since --like does not have them: idx" in run.texts
    # The module's own checkpoint, which lacks it.
    apply_weights(
        ApplyOptions(model=files[0], weights=tmp_path / "like.pt", out=tmp_path / "new.pt"), Texts()
    )
    script: Any = torch.jit.load(tmp_path / "new.pt")  # type: ignore[no-untyped-call]
    x = torch.randn(4, 8)
    torch.testing.assert_close(script(x), module(x))


def test_a_parameter_that_the_checkpoint_lacks_is_refused(tmp_path: Path) -> None:
    module = Shifted().eval()
    files = model_and_samples(module, (torch.randn(16, 8),), "trace", tmp_path)
    torch.save({"fc.weight": module.fc.weight.detach()}, tmp_path / "like.pt")
    run = initialised(*files, like=tmp_path / "like.pt")
    assert run.code == 3
    assert "unexpected: fc.bias" in run.texts[-1]
    with pytest.raises(DataError, match=r"missing: fc.bias"):
        apply_weights(
            ApplyOptions(model=files[0], weights=tmp_path / "like.pt", out=tmp_path / "new.pt"),
            Texts(),
        )


def test_normalisations_leave_no_doubt(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    run = initialised(*model_and_samples(module, (torch.randn(16, 3, 6, 6),), "trace", tmp_path))
    assert run.code == 0, run.texts
    assert not any(text.startswith("warning: ") for text in run.texts)


def equalised(linear: type[nn.Linear]) -> nn.Module:
    """Return a network on sequences, whose Linears the older exporter makes a MatMul each."""
    torch.manual_seed(3)
    return nn.Sequential(linear(6, 12), nn.GELU(), linear(12, 4)).eval()


@pytest.mark.parametrize("linear", [nn.Linear, EqualLinear])
def test_values_tell_whether_a_module_computes_its_weight(
    tmp_path: Path, linear: type[nn.Linear]
) -> None:
    module = equalised(linear)
    files = model_and_samples(module, sequences(6), "folded", tmp_path)
    guessed = "recovered 2 PyTorch names (0.weight, 2.weight)"
    alone = initialised(*files)
    assert alone.code == 0
    assert any(text.startswith(f"{guessed}; --like") for text in alone.texts), alone.texts
    save_file(module.state_dict(), tmp_path / "own.safetensors")
    own = initialised(*files, like=tmp_path / "own.safetensors")
    if linear is nn.Linear:
        assert own.code == 0
        assert guessed in own.texts
    else:
        assert own.code == 3
        assert "computes what it multiplies by from 0.weight, 2.weight" in own.texts[-1]
        assert "do_constant_folding=False" in own.texts[-1]
    trained = {name: value + 0.1 for name, value in module.state_dict().items()}
    save_file(trained, tmp_path / "trained.safetensors")
    other = initialised(*files, like=tmp_path / "trained.safetensors")
    assert other.code == 0
    assert any(text.startswith(guessed) and "other values" in text for text in other.texts)


class Wrapper(nn.Module):
    """A module whose own names begin as those of a wrapped one."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.module(x)
        return result


def test_a_prefix_that_the_model_has_stays(tmp_path: Path) -> None:
    wrapped = Wrapper()
    files = model_and_samples(wrapped, (torch.randn(16, 8),), "script", tmp_path)
    torch.save(wrapped.state_dict(), tmp_path / "like.pt")
    run = initialised(*files, like=tmp_path / "like.pt")
    assert run.code == 0, run.texts
    assert run.tensors.keys() == {"module.weight", "module.bias"}
    assert not any("begin with" in text for text in run.texts)


def test_names_that_fit_nothing_are_still_refused(tmp_path: Path) -> None:
    model, data = language("script", tmp_path)
    state = {f"net.{name}": value for name, value in state_of(Language()).items()}
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(DataError, match=r"does not fit the model"):
        verify_weights(
            VerifyOptions(
                model=model,
                weights=tmp_path / "other.pt",
                samples=SampleOptions(data=(str(data),)),
                device="cpu",
            ),
            Texts(),
        )


def test_names_asked_for_are_required(tmp_path: Path) -> None:
    files = model_and_samples(equalised(EqualLinear), sequences(6), "dynamo", tmp_path)
    run = initialised(*files, names="torch", out_model=tmp_path / "new.onnx")
    assert run.code == 3
    assert "0.weight, 2.weight were folded into other constants" in run.texts[-1]
    with pytest.raises(ModelError, match=r"were folded into other constants"):
        verify_weights(
            VerifyOptions(
                model=files[0],
                samples=SampleOptions(data=(str(files[1]),)),
                names="torch",
                device="cpu",
            ),
            Texts(),
        )
    measured = verify_weights(
        VerifyOptions(model=files[0], samples=SampleOptions(data=(str(files[1]),)), device="cpu"),
        events := Texts(),
    )
    assert len(measured.layers) == 2
    assert any("the ONNX file's, not PyTorch's" in text for text in events.texts)
