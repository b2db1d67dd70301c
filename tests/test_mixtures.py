"""Experts whose matrices the samples choose from one parameter: each is a layer of its own.

Given its draw, each expert's scale is the only one under which what it makes of the samples that
choose it has unit variance; ONNX Runtime alone tells, by the written file in the original graph.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from lsuv_cli.core.choices import Bias, Init, Per, Status
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import CompareOptions, SampleOptions, VerifyOptions
from lsuv_cli.core.records import Report
from lsuv_cli.jobs.compare import compare_inits
from lsuv_cli.jobs.verify import verify_weights
from lsuv_cli.layers.find import find_layers
from lsuv_cli.layers.left_alone import layers_left_alone
from lsuv_cli.passes import chosen_matrices, stacked_matrices
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import Array, i64, in_normal_form, node, random_weight, save_graph
from support.inference import forward, outputs_of
from support.initialization import run
from support.mixtures import FORMS, INPUTS, OUTPUTS, Mixture
from support.precision_graphs import KINDS
from support.sample_files import save_samples

W = random_weight
SAMPLES = 60


def choices(path: Path, written: dict[str, Array], x: Array) -> Array:
    """Return the experts that the samples choose with the written weights."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in written:
            tensor.CopyFrom(onnx.numpy_helper.from_array(written[tensor.name], tensor.name))
    model.graph.output.append(helper.make_tensor_value_info("index", 7, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(["index"], {"x": x})[0])


def check(
    mixture: Mixture,
    path: Path,
    report: Report,
    written: dict[str, Array],
    x: Array,
    *,
    per: Per = Per.LAYER,
) -> None:
    """Check what each expert makes of its own samples, and the layers around them."""
    index = choices(path, written, x)
    made = forward(path, written, {"x": x}, "h").astype(np.float64)
    by_name = {result.planned.layer.name: result for result in report.layers}
    assert len(by_name) == mixture.experts + 2
    before = mixture.save(path.with_name("before.onnx"))
    for expert in range(mixture.experts):
        (result,) = [one for name, one in by_name.items() if name.endswith(f".{expert}")]
        part = f"[{expert}:{expert + 1}]"
        assert result.planned.layer.weight_name == f"w{part}"
        if mixture.biased:
            assert result.planned.layer.bias_name == ("b" if mixture.shared else f"b{part}")
        rows = made[index == expert].reshape(-1, OUTPUTS)
        if not len(rows):
            assert (result.status, result.iterations) == (Status.UNREACHABLE, 0)
            assert written["w"][expert].tobytes() == before["w"][expert].tobytes()
            continue
        assert result.after is not None
        assert result.after.count == len(rows)
        if result.status is Status.CONVERGED:
            spread = rows.var(axis=0) if per is Per.CHANNEL else rows.var()
            np.testing.assert_allclose(spread, np.ones_like(spread), atol=2e-5)
        else:  # a single row does not vary within its channels
            assert per is Per.CHANNEL
            assert result.status is Status.ZERO_VARIANCE
    if per is Per.LAYER:
        for value in ("logits", "z"):
            assert forward(path, written, {"x": x}, value).var() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("gather", ["Gather", "GatherND"])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("form", FORMS)
def test_each_expert_has_unit_variance(
    tmp_path: Path, form: str, number: int, biased: bool, gather: str
) -> None:
    mixture = Mixture(form, choices=number, biased=biased, gather=gather)
    path = tmp_path / "m.onnx"
    mixture.save(path)
    data = save_samples(tmp_path, mixture.input_shape, SAMPLES)
    x = np.load(data)
    (expected,) = outputs_of(onnx.load(path), {"x": x})
    (value,) = outputs_of(in_normal_form(path), {"x": x})
    np.testing.assert_allclose(value, expected, atol=1e-6 * np.abs(expected).max())
    report, written = run(path, data, count=SAMPLES)
    check(mixture, path, report, written, x)
    assert not report.left_alone


mixtures = st.builds(
    Mixture,
    form=st.sampled_from(FORMS),
    experts=st.integers(2, 5),
    choices=st.integers(0, 2),
    biased=st.booleans(),
    shared=st.booleans(),
    gather=st.sampled_from(["Gather", "GatherND"]),
    deserted=st.booleans(),
    rows=st.integers(1, 5),
)


@settings(max_examples=40, deadline=None)
@given(
    mixtures,
    st.integers(2, 40),
    st.sampled_from([None, 1, 3, 7]),
    st.sampled_from(list(Per)),
    st.sampled_from([1, 10**9]),
    st.sampled_from([1, 10**9]),
)
def test_random_mixtures(
    mixture: Mixture,
    samples: int,
    batch_size: int | None,
    per: Per,
    segment_bytes: int,
    memory_bytes: int,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "m.onnx")
        mixture.save(path)
        data = save_samples(Path(name), mixture.input_shape, samples)
        report, written = run(
            path,
            data,
            count=samples,
            batch_size=batch_size,
            per=per,
            max_segment_bytes=segment_bytes,
            memory_bytes=memory_bytes,
        )
        check(mixture, path, report, written, np.load(data), per=per)


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("shared", [False, True])
def test_biases(tmp_path: Path, shared: bool, batch_size: int | None) -> None:
    """They become zero, centre each expert's channels, or stay."""
    mixture = Mixture(choices=2, biased=True, shared=shared)
    before = mixture.save(tmp_path / "m.onnx")
    data = save_samples(tmp_path, mixture.input_shape, SAMPLES)
    x = np.load(data)
    for bias in Bias:
        options: dict[str, Any] = {"targets": (("w", 3.0),)} if bias is Bias.KEEP else {}
        report, written = run(
            tmp_path / "m.onnx", data, count=SAMPLES, bias=bias, batch_size=batch_size, **options
        )
        assert {r.status for r in report.layers} == {Status.CONVERGED}
        index = choices(tmp_path / "m.onnx", written, x)
        made = forward(tmp_path / "m.onnx", written, {"x": x}, "h")
        for expert in range(mixture.experts):
            rows = made[index == expert]
            std = 3.0 if bias is Bias.KEEP else 1.0
            assert rows.std() == pytest.approx(std, abs=1e-4)
            if bias is Bias.CENTER and not shared:
                np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-5)
        if bias is Bias.KEEP:
            assert written["b"].tobytes() == before["b"].tobytes()
        if bias is Bias.ZERO:
            assert not written["b"].any()


def test_verify_agrees(tmp_path: Path) -> None:
    mixture = Mixture(choices=2, deserted=True, biased=True)
    path = tmp_path / "m.onnx"
    mixture.save(path)
    data = save_samples(tmp_path, mixture.input_shape, SAMPLES)
    report, _ = run(path, data, count=SAMPLES)
    samples = SampleOptions(data=(str(data),), count=None)
    weights = path.with_suffix(".safetensors")
    verified = verify_weights(
        VerifyOptions(model=path, weights=weights, samples=samples, device="cpu", batch_size=9),
        Silent(),
    )
    for one, other in zip(verified.layers, report.layers, strict=True):
        reached = other.status is Status.CONVERGED
        assert one.status is (Status.WITHIN if reached else Status.UNREACHABLE)
        assert (one.distribution is not None) == reached


@pytest.mark.parametrize("opset", [12, 13, 14, 18])
def test_opsets(tmp_path: Path, opset: int) -> None:
    """Before 13, sizes that are computed can't divide a value, and the node is left alone."""
    nodes = [
        *(node("MatMul", "x gate", "logits"), node("ArgMax", "logits", "index", keepdims=0)),
        *(node("Reshape", "x column", "xs"), node("Gather", "w index", "chosen")),
        *(node("MatMul", "chosen xs", "p"), node("Reshape", "p flat", "h")),
        node("MatMul", "h v", "z"),
    ]
    weights = {"gate": W(INPUTS, 3), "w": W(3, OUTPUTS, INPUTS), "v": W(OUTPUTS, 2)}
    weights |= {"column": i64(-1, INPUTS, 1), "flat": i64(-1, OUTPUTS)}
    nodes[1].attribute.append(helper.make_attribute("axis", 1))
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", INPUTS), opset=opset)
    data = save_samples(tmp_path, (INPUTS,), SAMPLES)
    report, written = run(path, data, count=SAMPLES)
    if opset < 13:
        assert report.left_alone == ("MatMul_p (MatMul): its weight is chosen by the samples",)
        return
    assert not report.left_alone
    x = np.load(data)
    index = choices(path, written, x)
    made = forward(path, written, {"x": x}, "h")
    for expert in range(3):
        assert made[index == expert].var() == pytest.approx(1, abs=1e-5)


def test_one_expert_for_all(tmp_path: Path) -> None:
    """A single choice, without axes, as in a loop over those that were chosen; and a Gemm."""
    nodes = [
        *(node("ReduceMean", "x", "mean", axes=[0], keepdims=0), node("ArgMax", "mean", "top")),
        *(node("Squeeze", "top", "index"), node("Gather", "w index", "chosen")),
        *(node("Gather", "b index", "vector"), node("Gemm", "x chosen vector", "h", transB=1)),
        node("MatMul", "h v", "z"),
    ]
    weights = {"w": W(INPUTS, OUTPUTS, INPUTS), "b": W(INPUTS, OUTPUTS), "v": W(OUTPUTS, 2)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", INPUTS))
    data = save_samples(tmp_path, (INPUTS,), SAMPLES)
    x = np.load(data)
    report, written = run(path, data, count=SAMPLES)
    taken = int(x.mean(axis=0).argmax())
    assert len(report.layers) == INPUTS + 1
    for result in report.layers[:-1]:
        layer = result.planned.layer
        reached = layer.name == f"Gemm_h.{taken}"
        assert result.status is (Status.CONVERGED if reached else Status.UNREACHABLE)
        assert layer.bias_name == f"b[{layer.name[-1]}:{int(layer.name[-1]) + 1}]"
    assert forward(path, written, {"x": x}, "h").var() == pytest.approx(1, abs=1e-5)
    for expert in set(range(INPUTS)) - {taken}:
        assert written["w"][expert].tobytes() == weights["w"][expert].tobytes()
        assert written["b"][expert].tobytes() == weights["b"][expert].tobytes()


LEFT_ALONE = {
    "more axes": (
        [
            node("Gather", "w4 index", "c"),
            node("Unsqueeze", "x places", "xs"),
            node("MatMul", "xs c", "h"),
        ],
        "MatMul_h",
    ),
    "another axis as well": (
        [
            node("Unsqueeze", "index last", "i"),
            node("Concat", "i i", "ii", axis=-1),
            node("GatherND", "w4 ii", "c"),
            node("Unsqueeze", "x one", "xs"),
            node("MatMul", "xs c", "h"),
        ],
        "MatMul_h",
    ),
    "a convolution": (
        [
            node("Squeeze", "top", "i"),
            node("Gather", "kernels i", "c"),
            node("Unsqueeze", "x last", "xs"),
            node("Conv", "xs c", "h"),
        ],
        "Conv_h",
    ),
    "no matrix product": (
        [node("Gather", "w index", "c"), node("Einsum", "c x", "h", equation="noi,ni->n")],
        "Einsum_h",
    ),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_is_left_alone_is_said(tmp_path: Path, name: str) -> None:
    """Matrices that are chosen in another way have no layers, and a reason."""
    more, left = LEFT_ALONE[name]
    nodes = [
        *(
            node("MatMul", "x gate", "logits"),
            node("ArgMax", "logits", "index", keepdims=0, axis=1),
        ),
        *(node("ReduceMax", "index", "top", keepdims=0), *more),
    ]
    weights = {"gate": W(INPUTS, 3), "w4": W(3, 3, INPUTS, 5), "w": W(3, OUTPUTS, INPUTS)}
    weights |= {"kernels": W(3, 5, INPUTS, 1), "places": i64(1, 2), "last": i64(-1), "one": i64(1)}
    read = {one for n in nodes for one in n.input}
    weights = {key: value for key, value in weights.items() if key in read}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", INPUTS))
    model, _ = read_model(path)
    assert [layer_node.layer.name for layer_node in find_layers(model)] == ["MatMul_logits"]
    (text,) = layers_left_alone(model)
    assert text.startswith(f"{left} (")
    x = W(8, INPUTS)
    (expected,) = outputs_of(onnx.load(path), {"x": x})
    (found,) = outputs_of(in_normal_form(path), {"x": x})
    np.testing.assert_array_equal(found, expected)


def test_compare_has_gradients_of_what_samples_reach(tmp_path: Path) -> None:
    """PyTorch's autograd runs through the parts that the experts are taken apart into."""
    mixture = Mixture(choices=2, deserted=True, biased=True)
    mixture.save(tmp_path / "m.onnx")
    data = save_samples(tmp_path, mixture.input_shape, SAMPLES)
    options = CompareOptions(
        model=tmp_path / "m.onnx",
        samples=SampleOptions(data=(str(data),), count=None),
        device="cpu",
        inits=(Init.LSUV, Init.HE),
    )
    found = compare_inits(options, Silent())
    assert not found.no_gradients
    for one in found.inits:
        pairs = zip(found.forward(one), found.backward(one), strict=True)
        for planned, (forth, back) in zip(found.layers, pairs, strict=True):
            deserted = planned.layer.name.endswith(f".{mixture.experts - 1}")
            # Which experts are chosen has no gradient.
            choosing = planned.layer.name == "MatMul_logits"
            assert (forth is None, back is None) == (deserted, deserted or choosing)
            if one.init is Init.LSUV and forth is not None:
                assert forth == pytest.approx(1, abs=1e-5)
            assert back is None or back > 0


@pytest.mark.parametrize("kind", KINDS)
def test_precisions(tmp_path: Path, kind: str) -> None:
    mixture = Mixture(choices=2, biased=True)
    mixture.save(tmp_path / "single.onnx")
    model = onnx.load(tmp_path / "single.onnx")
    element, dtype = KINDS[kind]
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            value = onnx.numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    for value_info in (*model.graph.input, *model.graph.output):
        value_info.type.tensor_type.elem_type = element
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    report, written = run(path, save_samples(tmp_path, (INPUTS,), SAMPLES), count=SAMPLES)
    assert len(report.layers) == mixture.experts + 2
    assert {result.status for result in report.layers} == {Status.CONVERGED}
    assert written["w"].dtype == dtype


def test_very_many_matrices_are_not_taken_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that all samples see have one scale; those that an index chooses are left alone."""
    for module in (chosen_matrices, stacked_matrices):
        monkeypatch.setattr(module, "MAX_MATRICES", 2)
    mixture = Mixture()
    mixture.save(tmp_path / "m.onnx")
    data = save_samples(tmp_path, mixture.input_shape, SAMPLES)
    report, _ = run(tmp_path / "m.onnx", data, count=SAMPLES)
    assert report.left_alone == ("MatMul_p (MatMul): its weight is chosen by the samples",)
    nodes = [node("MatMul", "x w", "h"), node("Tanh", "h", "t"), node("MatMul", "t v", "z")]
    weights = {"w": W(3, INPUTS, OUTPUTS), "v": W(OUTPUTS, 2)}
    path = save_graph(tmp_path / "stacked.onnx", nodes, weights, ("n", INPUTS))
    report, written = run(path, data, count=SAMPLES)
    assert [result.planned.layer.name for result in report.layers] == ["MatMul_h", "MatMul_z"]
    assert forward(path, written, {"x": np.load(data)}, "h").var() == pytest.approx(1, abs=1e-5)
