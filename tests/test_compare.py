"""`lsuv compare`: both halves against PyTorch, and LSUV's column against `lsuv init`."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from torch import nn

from lsuv_cli.core.choices import BatchNorm, Bias, Init, Per, PreInit
from lsuv_cli.core.comparison import Comparison, growth
from lsuv_cli.core.events import Silent
from lsuv_cli.core.indices import LayerIndex, by_layer
from lsuv_cli.core.layout import Order, WeightLayout
from lsuv_cli.core.moments import Moments
from lsuv_cli.core.options import CompareOptions, InitOptions, SampleOptions
from lsuv_cli.core.preinit import draw, generator
from lsuv_cli.engine.gradients import NoGradientsError, Signal, refuse_different
from lsuv_cli.jobs.backward import GRADIENT_SAMPLES
from lsuv_cli.jobs.compare import compare_inits
from lsuv_cli.jobs.init import initialize_weights
from support.command import Run
from support.graphs import random_weight, save_graph
from support.paths import ROOT

Array = NDArray[Any]
SCHEMA = json.loads((ROOT / "docs" / "compare.schema.json").read_text())
SEED = 3
SAMPLES = 40


class Heard(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def compared(model: Path, data: Path, events: Silent | None = None, **more: Any) -> Comparison:
    samples = SampleOptions(data=(str(data),), seed=SEED)
    options = CompareOptions(model=model, samples=samples, seed=SEED, device="cpu", **more)
    return compare_inits(options, events or Silent())


def export(module: nn.Module, x: Array, folder: Path) -> tuple[Path, Path]:
    """The model and the samples as files."""
    np.save(folder / "x.npy", x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.from_numpy(x[:2]),),
            folder / "m.onnx",
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
    return folder / "m.onnx", folder / "x.npy"


LAYERS = (nn.Conv2d, nn.Linear)


@contextmanager
def outputs_kept(module: nn.Sequential) -> Iterator[list[torch.Tensor]]:
    kept: list[torch.Tensor] = []
    hooks = [
        one.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        for one in module
        if isinstance(one, LAYERS)
    ]
    yield kept
    for hook in hooks:
        hook.remove()


def true_stds(module: nn.Sequential, x: Array) -> tuple[list[float], list[float]]:
    """Forward on all samples, backward on the first ones."""
    with outputs_kept(module) as outputs, torch.no_grad():
        module(torch.from_numpy(x))
    with outputs_kept(module) as layers:
        end = module(torch.from_numpy(x[:GRADIENT_SAMPLES]))
    normal = generator(SEED, "cotangent").standard_normal(tuple(end.shape), np.float32)
    gradients = torch.autograd.grad(end, layers, torch.from_numpy(normal))
    return stds(outputs), stds(gradients)


def stds(values: Iterable[torch.Tensor]) -> list[float]:
    return [float(one.double().std(correction=0)) for one in values]


def draw_into(module: nn.Sequential, kind: PreInit) -> None:
    """The draws of `lsuv init --pre-init`, unscaled."""
    for name, one in module.named_children():
        if isinstance(one, LAYERS):
            order = Order.CONV if isinstance(one, nn.Conv2d) else Order.OUT_IN
            layout = WeightLayout(tuple(one.weight.shape), order)
            drawn = draw(kind, layout, generator(SEED, f"{name}.weight"))
            with torch.no_grad():
                one.weight.copy_(torch.from_numpy(drawn))
                if one.bias is not None:
                    one.bias.zero_()


def assert_is(comparison: Comparison, init: Init, truth: tuple[list[float], list[float]]) -> None:
    (one,) = (one for one in comparison.inits if one.init is init)
    assert comparison.forward(one) == pytest.approx(truth[0], rel=1e-4), init
    assert comparison.backward(one) == pytest.approx(truth[1], rel=1e-4), init


def lsuv_weights(model: Path, data: Path, folder: Path, **more: Any) -> Mapping[str, torch.Tensor]:
    out = folder / "out.safetensors"
    samples = SampleOptions(data=(str(data),), seed=SEED)
    options = InitOptions(
        model=model, out=out, samples=samples, seed=SEED, device="cpu", force=True, **more
    )
    assert not initialize_weights(options, Silent()).failures
    return load_file(out)


def test_every_init_is_what_pytorch_computes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8, 10),
        nn.ReLU(),
        nn.Linear(10, 4),
    )
    x = random_weight(SAMPLES, 3, 8, 8)
    model, data = export(module, x, tmp_path)
    found = compared(model, data, inits=tuple(Init), batch_size=16)
    assert [one.init for one in found.inits] == list(Init)
    assert (found.gradient_samples, found.no_gradients) == (GRADIENT_SAMPLES, "")
    assert_is(found, Init.KEEP, true_stds(module, x))
    for init in Init:
        if init.draw not in (None, PreInit.KEEP):
            draw_into(module, init.draw)
            assert_is(found, init, true_stds(module, x))
    module.load_state_dict(lsuv_weights(model, data, tmp_path))
    truth = true_stds(module, x)
    assert truth[0] == pytest.approx([1.0] * 4, rel=1e-4)
    assert_is(found, Init.LSUV, truth)
    # Not drawn again where its draw is compared too, and drawn where it is not.
    alone = compared(model, data, inits=(Init.LSUV,), batch_size=16)
    assert_is(alone, Init.LSUV, truth)


@pytest.mark.parametrize("bn", list(BatchNorm))
def test_batch_normalisation(tmp_path: Path, bn: BatchNorm) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(2, 5, 3, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 3),
    ).eval()
    for norm in (one for one in module if isinstance(one, nn.BatchNorm2d)):
        assert norm.running_var is not None
        nn.init.uniform_(norm.weight)
        nn.init.normal_(norm.bias)
        norm.running_var.uniform_(0.5, 2.0)
    x = random_weight(SAMPLES, 2, 6, 6) * 2 + 1
    model, data = export(module, x, tmp_path)
    inits = (Init.KEEP, Init.HE, Init.LSUV)
    found = compared(model, data, inits=inits, bn=bn, batch_size=16)
    assert not found.no_gradients
    written = lsuv_weights(model, data, tmp_path, bn=bn)
    module.train(bn is BatchNorm.BATCH)
    for init in inits:
        if init is Init.HE:
            draw_into(module, PreInit.HE)
        elif init is Init.LSUV:
            module.load_state_dict(written)
        # In training the running statistics change, but nothing reads them.
        assert_is(found, init, true_stds(module, x))


PLANS: Sequence[dict[str, Any]] = (
    {},
    {"bias": Bias.KEEP},
    {"bias": Bias.CENTER, "per": Per.CHANNEL, "target_std": 0.5},
    {"bias": Bias.CENTER, "pre_init": PreInit.HE},
    {"exclude": ("fc1",), "pre_init": PreInit.KEEP},
    {"exclude": ("plain",)},
)


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_lsuv_is_what_init_gives(
    tmp_path: Path, plan: dict[str, Any], batch_size: int | None
) -> None:
    """With weights used twice and excluded layers, whose outputs are measured on the way."""
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["s"]),
        helper.make_node("Conv", ["s", "plain.weight"], ["d"], name="plain"),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["h"], name="fc1"),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("MatMul", ["t", "mid.weight"], ["m"], name="mid"),
        helper.make_node("Add", ["m", "mid.bias"], ["n"]),
        helper.make_node("Gemm", ["n", "fc.weight"], ["y"], name="fc2"),
    ]
    weights = {
        "conv.weight": random_weight(6, 3, 3, 3),
        "conv.bias": random_weight(6) / 4,
        "plain.weight": random_weight(6, 6, 2, 2),
        "fc.weight": random_weight(6, 6),
        "fc.bias": random_weight(6) / 4,
        "mid.weight": random_weight(6, 6, seed=1),
        "mid.bias": random_weight(6, seed=2) / 4,
    }
    model = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 3, 8, 8))
    np.save(tmp_path / "x.npy", random_weight(20, 3, 8, 8, seed=3))
    drawn = Init(plan.get("pre_init", PreInit.XAVIER))
    inits = tuple(dict.fromkeys((Init.LSUV, Init.KEEP, drawn)))
    plan = {**plan, "batch_size": batch_size}
    found = compared(model, tmp_path / "x.npy", inits=inits, backward=False, **plan)
    samples = SampleOptions(data=(str(tmp_path / "x.npy"),), seed=SEED)
    out = tmp_path / "out.safetensors"
    options = InitOptions(model=model, out=out, samples=samples, seed=SEED, device="cpu", **plan)
    results = initialize_weights(options, Silent()).layers
    by_init = {one.init: one for one in found.inits}
    for index, result in by_layer(results):
        assert result.before is not None
        assert result.after is not None
        scaled, kept = (by_init[one].forward[index] for one in (Init.LSUV, Init.KEEP))
        for one, true in ((scaled, result.after), (kept, result.before)):
            assert one.blob_mean == pytest.approx(true.blob_mean, abs=1e-4)
            assert one.blob_variance == pytest.approx(true.blob_variance, rel=1e-4)
    assert found.gradient_samples == 0
    assert found.no_gradients == ""


def linear_graph(tmp_path: Path, last: onnx.NodeProto, **more: Any) -> tuple[Path, Path]:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"], name="first"), last]
    model = save_graph(tmp_path / "m.onnx", nodes, {"w": random_weight(4, 5)}, ("n", 4), **more)
    np.save(tmp_path / "x.npy", random_weight(8, 4))
    return model, tmp_path / "x.npy"


def test_a_graph_that_can_not_be_translated(tmp_path: Path) -> None:
    model, data = linear_graph(tmp_path, helper.make_node("Celu", ["h"], ["y"], alpha=2.0))
    whole = onnx.load(model)
    whole.graph.node[1].CopyFrom(
        helper.make_node("QuickGelu", ["h"], ["y"], domain="com.microsoft", alpha=1.7)
    )
    whole.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(whole, model)
    found = compared(model, data, inits=(Init.KEEP, Init.HE))
    assert found.no_gradients.startswith("onnx2fx can't translate the graph to PyTorch")
    assert "QuickGelu" in found.no_gradients
    assert not found.has_gradients
    std = float((np.load(data) @ random_weight(4, 5)).std())
    assert found.forward(found.inits[0]) == pytest.approx([std], rel=1e-5)


def test_outputs_without_a_gradient(tmp_path: Path) -> None:
    model, data = linear_graph(tmp_path, helper.make_node("ArgMax", ["h"], ["y"], axis=1))
    whole = onnx.load(model)
    whole.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(whole, model)
    found = compared(model, data, inits=(Init.KEEP,))
    assert found.no_gradients == "no floating-point output of the model depends on a layer"


def test_a_layer_on_which_no_output_depends(tmp_path: Path) -> None:
    model, data = linear_graph(tmp_path, helper.make_node("Sigmoid", ["h"], ["y"]))
    whole = onnx.load(model)
    whole.graph.node.append(helper.make_node("Gemm", ["h", "v"], ["aside"], name="aside"))
    whole.graph.initializer.append(numpy_helper.from_array(random_weight(5, 2), "v"))
    onnx.save(whole, model)
    found = compared(model, data, inits=(Init.KEEP,))
    (one,) = found.inits
    assert set(one.forward) == {0, 1}
    assert set(one.backward) == {0}


def test_wrongly_translated_graphs_are_refused() -> None:
    first = LayerIndex(0)
    measured = {first: Moments(8, np.array([0.0]), np.array([4.0]))}
    refuse_different(Signal({first: (0.0, 2.001)}, {first: 1.0}), measured, ["first"])
    for wrong in ((0.1, 2.0), (0.0, 2.1), (0.0, math.nan)):
        with pytest.raises(NoGradientsError, match="at first the mean and standard deviation"):
            refuse_different(Signal({first: wrong}, {first: 1.0}), measured, ["first"])


def test_few_samples_where_there_is_little_memory(tmp_path: Path) -> None:
    model, data = linear_graph(tmp_path, helper.make_node("Tanh", ["h"], ["y"]))
    # A sample's values take (5 + 5) x 4 bytes, and three times that with those that PyTorch holds.
    found = compared(model, data, inits=(Init.KEEP,), memory_bytes=3 * 40 * 5)
    assert found.gradient_samples == 5


def test_another_branch_is_said(tmp_path: Path) -> None:
    """An If whose condition the weights decide."""
    branches = [
        helper.make_graph(
            [helper.make_node("Gemm", ["h", weight], [f"{weight}.y"], name=weight)],
            weight,
            [],
            [helper.make_tensor_value_info(f"{weight}.y", TensorProto.FLOAT, None)],
        )
        for weight in ("yes", "no")
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="first"),
        helper.make_node("Abs", ["h"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "bound"], ["large"]),
        helper.make_node(
            "If", ["large"], ["y"], name="if", then_branch=branches[0], else_branch=branches[1]
        ),
    ]
    weights = {
        "w": random_weight(4, 5) * 9,
        "yes": random_weight(5, 3),
        "no": random_weight(5, 3, seed=1),
        "bound": np.array(8, np.float32),
    }
    model = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 4))
    np.save(tmp_path / "x.npy", random_weight(8, 4))
    heard = Heard()
    inits = (Init.KEEP, Init.LSUV)
    found = compared(model, tmp_path / "x.npy", heard, inits=inits, backward=False)
    said = [text for text in heard.warnings if "another branch" in text]
    assert len(said) == 1
    assert said[0].startswith("with lsuv the samples take another branch")
    assert len(found.layers) == 3
    assert {len(one.forward) for one in found.inits} == {2}


def test_growth() -> None:
    found = growth([None, 2.0, 5.0, 0.5, None])
    assert found is not None
    assert (found.start, found.end, found.factor) == (2.0, 0.5, 0.25)
    for without in ([], [1.0], [0.0, 1.0], [1.0, math.inf], [math.nan, 1.0]):
        assert growth(without) is None


@pytest.fixture
def files(tmp_path: Path) -> Path:
    linear_graph(tmp_path, helper.make_node("Tanh", ["h"], ["y"]))
    return tmp_path


def test_the_command(files: Path, lsuv: Run) -> None:
    given = ("compare", "m.onnx", "--data", "x.npy", "--inits", "lsuv, He,keep", "--seed", SEED)
    done = lsuv(*given, "--json", "--report", "r.html", "--plot", "p.svg")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["options"]["inits"] == ["lsuv", "he", "keep"]
    assert document["gradients"] == {"samples": 8, "missing": None}
    (layer,) = document["layers"]
    assert layer["forward"]["lsuv"]["std"] == pytest.approx(1.0, rel=1e-5)
    x, w = torch.from_numpy(np.load(files / "x.npy")), torch.from_numpy(random_weight(4, 5))
    h = (x @ w).requires_grad_()
    normal = torch.from_numpy(generator(SEED, "cotangent").standard_normal((8, 5), np.float32))
    (gradient,) = torch.autograd.grad(torch.tanh(h), h, normal)
    assert layer["backward"]["keep"] == pytest.approx(gradient.std(correction=0).item(), rel=1e-4)
    assert "first  Gemm" in done.stderr
    assert "backward: standard deviation of the gradient with respect to it" in done.stderr
    assert "1 layer with lsuv, he, keep: 8 samples, 8 of them for gradients" in done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 100
    page = (files / "r.html").read_text()
    assert "gradient with respect to each layer" in page
    assert "<svg" in (files / "p.svg").read_text()


def test_without_the_extra(files: Path, lsuv: Run) -> None:
    (files / "without").mkdir()
    (files / "without" / "onnx2fx.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'onnx2fx'\", name='onnx2fx')\n"
    )
    path = os.pathsep.join(filter(None, (str(files / "without"), os.environ.get("PYTHONPATH"))))
    given = ("compare", "m.onnx", "--data", "x.npy", "--inits", "keep", "--json")
    done = lsuv(*given, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert "warning: gradients were not computed: onnx2fx" in done.stderr
    assert "pip install 'lsuv-cli[compare]'" in done.stderr
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["gradients"]["samples"] == 0
    assert "onnx2fx" in document["gradients"]["missing"]
    assert document["layers"][0]["backward"] == {"keep": None}
    assert document["layers"][0]["forward"]["keep"]["std"] > 0


@pytest.mark.parametrize(
    ("inits", "why"), [("lsuv,hee", "no initialisation hee"), ("he,he", "he is listed twice")]
)
def test_bad_inits_are_refused(files: Path, lsuv: Run, inits: str, why: str) -> None:
    done = lsuv("compare", "m.onnx", "--data", "x.npy", "--inits", inits)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    if "hee" in inits:
        assert ", ".join(Init) in done.stderr
