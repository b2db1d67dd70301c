"""How a module is called on a batch: which form is tried first, and what its inputs are called."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lsuv_cli.reading.module_call import BatchForm, batch_forms, call_on, main_inputs

SAMPLES = 4
X, Y = torch.zeros(SAMPLES, 3), torch.ones(SAMPLES, 2)
LABELS = torch.arange(SAMPLES)


class One(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Optional(nn.Module):
    main_input_name = "pixel_values"

    def forward(self, input_ids: Any = None, pixel_values: Any = None, labels: Any = None) -> Any:
        return input_ids, pixel_values, labels


class Several(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0]


class Pair(NamedTuple):
    x: Tensor
    y: Tensor


@pytest.mark.parametrize(
    ("module", "batch", "names"),
    [
        (One(), X, ["x"]),
        (One(), X.numpy(), ["x"]),
        (One(), (X, LABELS), ["x"]),
        (One(), [X], ["x"]),
        (One(), {"x": X, "labels": LABELS}, ["x"]),
        (One(), ({"x": X}, LABELS), ["x"]),
        (Two(), (X, Y, LABELS), ["x", "y"]),
        (Two(), ((X, Y), LABELS), ["x", "y"]),
        (Two(), Pair(X, Y), ["x", "y"]),
        (Two(), {"y": Y, "x": X, "id": ["a"] * SAMPLES}, ["y", "x"]),
        (Optional(), {"pixel_values": X, "labels": LABELS, "other": Y}, ["pixel_values"]),
        (Optional(), {"labels": LABELS}, ["labels"]),
        (Several(), (X, LABELS), ["inputs"]),
    ],
)
def test_the_likeliest_form(module: nn.Module, batch: Any, names: list[str]) -> None:
    form = next(iter(batch_forms(module, batch)))
    call = call_on(module, batch, form)
    assert list(call.paths) == names
    found = call.inputs(batch)
    args, kwargs = call.arguments([torch.as_tensor(value) for value in found.values()])
    assert len(args) + len(kwargs) == len(names)


def test_other_forms_follow() -> None:
    forms = list(batch_forms(One(), {"image": X, "label": LABELS}))
    assert forms == [BatchForm(), BatchForm(keys=("image",), named=False)]
    assert forms[1].arguments({"image": X, "label": LABELS}) == ((X,), {})
    with_labels = list(batch_forms(Optional(), {"pixel_values": X, "labels": LABELS}))
    assert with_labels[1].keys == ("pixel_values", "labels")
    assert list(batch_forms(Two(), (X, Y)))[1] == BatchForm(count=1)


def test_nested_arguments() -> None:
    """Inputs are called by their keys, and what has no batch axis is the same for all samples."""
    scale = torch.tensor(2.0)
    table = np.zeros((7, 3), np.float32)
    batch = {"a": {"x": X, "table": table}, "b": [X, Y], "scale": scale, "mode": "fast"}
    call = call_on(One(), batch, BatchForm())
    assert list(call.paths) == ["x", "x_b_0", "x_b_1"]
    args, _ = call.arguments([X + 1, X + 2, Y + 3])
    (filled,) = args
    assert torch.equal(filled["a"]["x"], X + 1)
    assert torch.equal(filled["b"][1], Y + 3)
    assert torch.equal(filled["a"]["table"], torch.from_numpy(table))
    assert filled["scale"] == scale
    assert filled["mode"] == "fast"


def test_inputs_of_one_name() -> None:
    batch = [{"x": X}, {"x": Y}]
    assert list(call_on(One(), batch, BatchForm()).paths) == ["x", "x_1_x"]


@pytest.mark.parametrize("batch", [[], {}, {"a": "text"}, torch.tensor(1.0), X[:0]])
def test_a_batch_without_samples(batch: Any) -> None:
    with pytest.raises(LookupError, match="no array with samples"):
        call_on(One(), batch, BatchForm())


def test_a_shorter_batch() -> None:
    with pytest.raises(IndexError, match="1 elements and not 2"):
        BatchForm(count=2).arguments((X,))


def test_the_main_inputs() -> None:
    assert main_inputs(Two()) == ["x", "y"]
    assert main_inputs(Optional()) == ["pixel_values"]
    assert main_inputs(Several()) == ["inputs"]
