"""Weights put back into graphs of every kind: ONNX Runtime runs them, and nothing else changed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from lsuv_cli.core.choices import Status
from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import ApplyOptions, SampleOptions, VerifyOptions
from lsuv_cli.core.records import Report
from lsuv_cli.graph.nodes import bodies
from lsuv_cli.graph.torch_origin import SCOPES_KEY
from lsuv_cli.jobs.apply import apply_weights
from lsuv_cli.jobs.verify import verify_weights
from lsuv_cli.runtime import try_model
from support.equal_graphs import HEAD, PLAIN, SAME_AS_PLAIN
from support.graphs import body, constant, node, random_weight, save_graph
from support.inference import forward, outputs_of
from support.initialization import run
from support.loop_graphs import LAST_WEIGHT, LOOP_GRAPHS, WIDTH, loop_while_small
from support.precision_graphs import CONNECTED, CONNECTED_WEIGHTS, save_in_precision
from support.random_graphs import CHANNELS, Builder, built_graphs
from support.sample_files import save_batch, save_samples
from support.torch_batch_norm import randomized_residual
from support.torch_export import export, export_with_batch_norm
from support.torch_models import BATCH, built, example
from support.torch_recurrent import Recurrent

Array = NDArray[Any]
W = random_weight


@pytest.fixture(autouse=True)
def _short_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """On zeros the loop `while` never ends."""
    monkeypatch.setattr(try_model, "MAX_SECONDS", 0.3)


def applied(path: Path, samples: Path, **options: Any) -> tuple[Report, dict[str, Array], Path]:
    """Initialise and apply: the report, the written weights and the model with them."""
    at_once = path.with_suffix(".at-once.onnx")
    report, written = run(path, samples, out_model=at_once, **options)
    out = path.with_suffix(".applied.onnx")
    weights = path.with_suffix(".safetensors")
    apply_weights(ApplyOptions(model=path, weights=weights, out=out, force=True), Silent())
    assert out.read_bytes() == at_once.read_bytes()
    return report, written, out


def tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """All constants by name, those of bodies too, to be looked at or set."""
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for one in graph.node:
        if one.op_type == "Constant" and one.attribute[0].name == "value":
            yield one.output[0], one.attribute[0].t
        for inner in bodies(one):
            yield from tensors(inner)


def recurrent(kind: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    return Recurrent(kind).eval(), (torch.randn(BATCH, 7, 6),)


def check_values(path: Path, out: Path, written: dict[str, Array]) -> None:
    """What was written stands in the new file, and all else is byte for byte as it was."""
    new = {name: numpy_helper.to_array(t) for name, t in tensors(onnx.load(out).graph)}
    old = {name: numpy_helper.to_array(t) for name, t in tensors(onnx.load(path).graph)}
    assert new.keys() >= old.keys() | written.keys()
    for name, value in (old | written).items():
        assert (new[name].dtype, new[name].shape) == (value.dtype, value.shape), name
        assert new[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize(
    ("name", "exporter"),
    [
        ("depthwise with BatchNorm", "script, unfolded"),  # Identity for what is stored once
        ("cloned", "script, unfolded"),
        ("cloned", "dynamo"),  # stored once and shared
        ("encoder", "script"),
        ("LSTM", "script"),
        ("LSTM", "dynamo"),
    ],
)
def test_it_gives_what_pytorch_gives(tmp_path: Path, name: str, exporter: str) -> None:
    model, inputs = recurrent(name) if name == "LSTM" else (built(name), example(name))
    export(model, inputs, tmp_path / "m.onnx", exporter)
    samples = save_batch(tmp_path, inputs)
    _, written, out = applied(tmp_path / "m.onnx", samples, count=BATCH)
    model.load_state_dict({key: torch.from_numpy(v) for key, v in written.items()}, strict=True)
    with torch.no_grad():
        expected = model(*inputs).numpy()
    feeds = {f"input{index}": value.numpy() for index, value in enumerate(inputs)}
    np.testing.assert_allclose(outputs_of(onnx.load(out), feeds)[0], expected, atol=2e-5)


def test_batch_normalisations_keep_their_statistics(tmp_path: Path) -> None:
    path = export_with_batch_norm(randomized_residual(), tmp_path / "m.onnx", (3, 9, 9))
    _, written, out = applied(path, save_samples(tmp_path, (3, 9, 9)))
    check_values(path, out, {n: v for n, v in written.items() if "num_batches" not in n})
    assert "bn2.running_var" in written


@pytest.mark.parametrize("name", [*SAME_AS_PLAIN, "a function", "older than free initializers"])
def test_small_graphs(tmp_path: Path, name: str) -> None:
    nodes, weights = SAME_AS_PLAIN.get(name, PLAIN)
    samples = save_samples(tmp_path, (8,))
    if name == "a function":
        inside = [constant("w", PLAIN[1]["w"]), node("Gemm", "data w bias", "out", transB=1)]
        opsets = [helper.make_opsetid("", 17)]
        function = helper.make_function("mine", "Fc", ["data", "bias"], ["out"], inside, opsets)
        call = helper.make_node("Fc", ["x", "b"], ["a"], domain="mine", name="call")
        weights = {"b": PLAIN[1]["b"], "v": PLAIN[1]["v"]}
        path = save_graph(tmp_path / "m.onnx", [call, *HEAD], weights, ("n", 8))
        model = onnx.load(path)
        model.functions.append(function)
        model.opset_import.append(helper.make_opsetid("mine", 1))
        onnx.save(model, path)
    else:
        path = save_graph(
            tmp_path / "m.onnx", nodes, weights, ("n", 8), opset=9 if "old" in name else 17
        )
    if name == "older than free initializers":
        model = onnx.load(path)
        model.ir_version = 3
        model.graph.input.extend(
            helper.make_tensor_value_info(key, TensorProto.FLOAT, value.shape)
            for key, value in weights.items()
        )
        onnx.save(model, path)
    _, written, out = applied(path, samples)
    check_values(path, out, written)
    feeds = {"x": np.load(samples)}
    (z,) = outputs_of(onnx.load(out), feeds)
    assert z.astype(np.float64).var() == pytest.approx(1, abs=1e-4)
    assert forward(out, {}, feeds, "a").astype(np.float64).var() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", LOOP_GRAPHS)
def test_bodies(tmp_path: Path, name: str) -> None:
    """The same as with the values set where they stand in the file."""
    nodes, shape = LOOP_GRAPHS[name]
    path = save_graph(tmp_path / "m.onnx", nodes, LAST_WEIGHT, ("n", *shape))
    samples = save_samples(tmp_path, shape)
    _, written, out = applied(path, samples)
    assert written.keys() == {"w", "u", "v"}
    check_values(path, out, written)
    by_hand = onnx.load(path)
    for key, tensor in tensors(by_hand.graph):
        if key in written:
            tensor.CopyFrom(numpy_helper.from_array(written[key], tensor.name))
    feeds = {"x": np.load(samples)}
    for one, same in zip(
        outputs_of(by_hand, feeds), outputs_of(onnx.load(out), feeds), strict=True
    ):
        np.testing.assert_array_equal(one, same)
    again = verify_weights(
        VerifyOptions(model=out, samples=SampleOptions(data=(str(samples),), count=8)), Silent()
    )
    assert not again.failures


def test_a_trial_run_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    path = save_graph(tmp_path / "m.onnx", loop_while_small(), LAST_WEIGHT, ("n", WIDTH))
    told = try_model.try_model([path], str(path))
    assert told == "loaded, but on zeros, x:1,6, it runs longer than 0 s"
    nodes, shape = LOOP_GRAPHS["scan"]
    save_graph(path, nodes, LAST_WEIGHT, ("n", *shape))
    assert try_model.try_model([path], str(path)) == "run on zeros, x:1,5,6"


def test_bodies_in_external_data_and_names_that_are_taken(tmp_path: Path) -> None:
    """Two loops with the same names inside, and one of them as the main graph has."""
    path = save_graph(tmp_path / "m.onnx", loop_while_small(), LAST_WEIGHT, ("n", WIDTH))
    model = onnx.load(path)
    second = onnx.NodeProto()
    second.CopyFrom(model.graph.node[1])
    second.name, second.input[2] = "second", "z9"
    second.output[:] = [f"{name}9" for name in second.output]
    model.graph.node.extend(
        [
            node("MatMul", "z u", "z9"),
            second,
            node("ReduceMean", "all9", "y", axes=[0], keepdims=0),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(W(4, WIDTH), "u"))
    model.graph.output[0].name = "y"
    place: dict[str, Any] = {"location": "m.bin", "size_threshold": 0}
    onnx.save(model, path, save_as_external_data=True, **place)
    samples = save_samples(tmp_path, (WIDTH,))
    report, written, out = applied(path, samples)
    assert {"u", "v", "w"} < written.keys()
    assert len(written) == 6
    found = {name: numpy_helper.to_array(t) for name, t in tensors(onnx.load(out).graph)}
    for key, value in written.items():
        np.testing.assert_array_equal(found[key], value)
    assert outputs_of(onnx.load(out), {"x": np.load(samples)})[0].shape == (8, WIDTH)
    assert {r.status for r in report.layers} <= {Status.CONVERGED, Status.SHARED}


def branches(
    condition: str,
    output: str,
    yes: list[onnx.NodeProto],
    no: list[onnx.NodeProto],
    weights: tuple[dict[str, Array], dict[str, Array]] = ({}, {}),
) -> onnx.NodeProto:
    """An If of bodies that give their last nodes' outputs, with initializers of their own."""
    then, other = (
        body(nodes, {}, [nodes[-1].output[0]], own)
        for nodes, own in zip((yes, no), weights, strict=True)
    )
    return helper.make_node("If", [condition], [output], then_branch=then, else_branch=other)


def test_names_that_several_bodies_have(tmp_path: Path) -> None:
    """Each body has its own w, and k is a bias in one of them and made by nodes in others."""
    own = [{"w": W(WIDTH, WIDTH, seed=seed)} for seed in range(3)]
    inner = branches("c", "r", [node("Relu", "k", "r0")], [node("MatMul", "k w", "r1")])
    nodes = [
        constant("zero", np.float32(0)),
        node("ReduceMean", "x", "mean", keepdims=0),
        node("Greater", "mean zero", "c"),
        node("MatMul", "x v0", "a"),
        branches(
            "c",
            "b",
            [constant("k", W(WIDTH)), node("MatMul", "a w", "s"), node("Add", "s k", "t")],
            [node("Tanh", "a", "k"), inner],
            (own[0], own[1]),
        ),
        branches(
            "c",
            "d",
            [node("Tanh", "b", "k"), node("MatMul", "k w", "p")],
            [node("Identity", "b", "q")],
            (own[2], {}),
        ),
        node("MatMul", "d v", "z"),
    ]
    weights = {"v0": W(WIDTH, WIDTH, seed=3), **LAST_WEIGHT}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", WIDTH))
    report, written, out = applied(path, save_samples(tmp_path, (WIDTH,)))
    assert {r.status for r in report.layers} == {Status.CONVERGED, Status.UNREACHABLE}
    assert written.keys() == {"v0", "v", "w", "w/2", "w/3", "k/2"}
    by_hand = onnx.load(path)
    places = [t for key, t in tensors(by_hand.graph) if key == "w"]
    for key, tensor in zip(("w", "w/2", "w/3"), places, strict=True):
        tensor.CopyFrom(numpy_helper.from_array(written[key], "w"))
    for key, tensor in tensors(by_hand.graph):
        if key in ("v0", "v", "k"):
            tensor.CopyFrom(numpy_helper.from_array(written["k/2" if key == "k" else key], key))
    for mean in (-1, 1):
        feeds = {"x": W(8, WIDTH) + np.float32(mean)}
        (expected,), (found,) = (outputs_of(one, feeds) for one in (by_hand, onnx.load(out)))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_sparse_initializers(tmp_path: Path, kind: type[np.generic]) -> None:
    """They are no parameters and stay as they are, in the main graph and in a body."""
    places = np.array([0, 9, 14])
    sparse = [
        helper.make_sparse_tensor(
            numpy_helper.from_array(W(3, seed=seed).astype(kind), name),
            numpy_helper.from_array(places, f"{name}/places"),
            [WIDTH, WIDTH],
        )
        for seed, name in enumerate(("outer", "inner"))
    ]
    nodes = [
        constant("yes", np.array(True)),
        node("Cast", "x", "h", to=int(helper.np_dtype_to_tensor_dtype(np.dtype(kind)))),
        node("MatMul", "h outer", "a0"),
        node("MatMul", "a0 w", "a"),
        branches(
            "yes",
            "b",
            [node("MatMul", "a inner", "s"), node("MatMul", "s u", "t")],
            [node("Identity", "a", "i")],
            ({"u": W(WIDTH, WIDTH).astype(kind)}, {}),
        ),
        node("MatMul", "b v", "y"),
        node("Cast", "y", "z", to=TensorProto.FLOAT),
    ]
    weights = {"w": W(WIDTH, WIDTH).astype(kind), "v": LAST_WEIGHT["v"].astype(kind)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", WIDTH))
    model = onnx.load(path)
    model.graph.sparse_initializer.append(sparse[0])
    (then,) = (a.g for a in model.graph.node[4].attribute if a.name == "then_branch")
    then.sparse_initializer.append(sparse[1])
    onnx.save(model, path)
    samples = save_samples(tmp_path, (WIDTH,))
    report, written, out = applied(path, samples, tol=1e-2)
    assert [r.status for r in report.layers] == [Status.CONVERGED] * 3
    assert written.keys() == {"w", "u", "v"}
    for key, tensor in tensors(model.graph):
        if key in written:
            tensor.CopyFrom(numpy_helper.from_array(written[key], key))
    feeds = {"x": np.load(samples)}
    (expected,), (found,) = (outputs_of(one, feeds) for one in (model, onnx.load(out)))
    np.testing.assert_array_equal(found, expected)
    assert found.astype(np.float64).var() == pytest.approx(1, abs=2e-2)


def _of_module(module: str, x: str, weight: str, output: str) -> onnx.NodeProto:
    """Return a product as PyTorch's exporter writes it, with its module's path."""
    made = helper.make_node("MatMul", [x, weight], [output])
    made.metadata_props.add(key=SCOPES_KEY, value=repr(["", module, "matmul"]))
    return made


def test_what_has_no_place_of_its_own_is_refused(tmp_path: Path) -> None:
    """A module's own copy of what is stored once, read inside a body."""
    nodes = [
        constant("yes", np.array(True)),
        _of_module("first", "x", "first.weight", "a"),
        helper.make_node(
            "If",
            ["yes"],
            ["b"],
            then_branch=body([_of_module("second", "a", "first.weight", "t")], {}, ["t"]),
            else_branch=body([node("MatMul", "a r", "r1")], {}, ["r1"], {"r": W(WIDTH, WIDTH)}),
        ),
        node("MatMul", "b v", "z"),
    ]
    weights = {"first.weight": W(WIDTH, WIDTH), **LAST_WEIGHT}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", WIDTH))
    model = onnx.load(path)
    model.producer_name = "pytorch"
    onnx.save(model, path)
    samples = save_samples(tmp_path, (WIDTH,))
    with pytest.raises(ModelError, match="has no place of its own for"):
        run(path, samples, names="pytorch", out_model=tmp_path / "new.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "samples.npy"]


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision(tmp_path: Path, kind: str) -> None:
    path = save_in_precision(tmp_path / "m.onnx", CONNECTED, CONNECTED_WEIGHTS, ("n", 8), kind)
    _, written, out = applied(path, save_samples(tmp_path, (8,)))
    assert {value.dtype.name for value in written.values()} == {kind}
    check_values(path, out, written)


@settings(max_examples=15, deadline=None)
@given(built_graphs())
def test_random_graphs(builder: Builder) -> None:
    """Every layer has unit variance in the written model, by ONNX Runtime alone."""
    shape = (CHANNELS, 6, 6) if builder.convolutional else (CHANNELS,)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = {**builder.weights, "numbers": np.arange(3), "unused": W(3)}
        path = save_graph(folder / "m.onnx", builder.nodes, weights, ("n", *shape))
        samples = save_samples(folder, shape)
        report, written, out = applied(path, samples, tol=1e-4)
        check_values(path, out, written)
        assert "numbers" not in written
        converged = {r.planned.layer.name for r in report.layers if r.status is Status.CONVERGED}
        assert converged
        for value in builder.layers:
            if f"n{value}" in converged:
                found = forward(out, {}, {"x": np.load(samples)}, value)
                assert found.astype(np.float64).var() == pytest.approx(1, abs=2e-4)
