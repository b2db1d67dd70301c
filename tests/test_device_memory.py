"""Values that stay in an accelerator's memory; the host plays its part, and a GPU where one is."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, ValueInfoProto, helper

from lsuv_cli.jobs import opening
from lsuv_cli.runtime.device_array import DeviceArray
from lsuv_cli.runtime.devices import CPU, Device, _cuda_problem
from lsuv_cli.runtime.session import Session
from lsuv_cli.runtime.store import ValueStore
from lsuv_cli.weights.qr import choose_qr
from support.graphs import Array, node, random_weight, save_graph
from support.initialization import run, scales
from support.processes import Processes
from support.sample_files import save_samples
from support.small_models import convolutional

Build = Callable[[Path], Path]

SAMPLES = 23
GPU_PROBLEM = _cuda_problem(ort.get_available_providers())

WITHOUT_GPU = pytest.mark.skipif(GPU_PROBLEM is not None, reason=f"no GPU: {GPU_PROBLEM}")


def on_device(value: np.ndarray) -> DeviceArray:
    return DeviceArray(ort.OrtValue.ortvalue_from_numpy(value))


def tensor(name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [3])


def batch_normalised(folder: Path, kind: type[np.floating[Any]] = np.float32) -> Path:
    """A residual block in training mode's graph, pooled and classified."""
    weights = {
        "c0": random_weight(6, 3, 3, 3),
        "c1": random_weight(6, 6, 3, 3, seed=1),
        "f": random_weight(5, 6),
        **{f"{name}{i}": np.ones(6, np.float32) for name in "sv" for i in range(2)},
        **{f"{name}{i}": np.zeros(6, np.float32) for name in "bm" for i in range(2)},
    }
    nodes = [
        node("Conv", "x c0", "z0", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "z0 s0 b0 m0 v0", "n0"),
        node("Relu", "n0", "a0"),
        node("Conv", "a0 c1", "z1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "z1 s1 b1 m1 v1", "n1"),
        node("Add", "n1 a0", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "flat"),
        node("Gemm", "flat f", "y", transB=1),
    ]
    of_kind = {name: value.astype(kind) for name, value in weights.items()}
    element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    return save_graph(folder / "m.onnx", nodes, of_kind, ["n", 3, 4, 4], input_type=element)


def in_half_precision(folder: Path) -> Path:
    return batch_normalised(folder, np.float16)


def transformer(folder: Path) -> Path:
    """One block: attention and a GELU, each behind LayerNorm and within a residual."""
    weights = {name: random_weight(4, 4, seed=i) for i, name in enumerate("qkvo")}
    weights |= {"up": random_weight(4, 16), "down": random_weight(16, 4)}
    weights |= {"one": np.ones(4, np.float32), "half": np.array(0.5, np.float32)}
    nodes = [
        node("LayerNormalization", "x one", "l0"),
        *(node("MatMul", f"l0 {name}", f"z{name}") for name in "qkv"),
        node("Transpose", "zk", "kt", perm=[0, 1, 3, 2]),
        node("MatMul", "zq kt", "s"),
        node("Mul", "s half", "scaled"),
        node("Softmax", "scaled", "share", axis=-1),
        node("MatMul", "share zv", "mixed"),
        node("MatMul", "mixed o", "zo"),
        node("Add", "zo x", "r0"),
        node("LayerNormalization", "r0 one", "l1"),
        node("MatMul", "l1 up", "zu"),
        node("Gelu", "zu", "a"),
        node("MatMul", "a down", "zd"),
        node("Add", "zd r0", "y"),
    ]
    return save_graph(folder / "m.onnx", nodes, weights, ["n", 3, 4, 4], opset=20)


MODELS = [convolutional, batch_normalised, in_half_precision, transformer]


@pytest.mark.parametrize("device_memory", [4, 40_000, 10**9])
@pytest.mark.parametrize("build", MODELS)
def test_bound_runs_give_what_unbound_ones_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Build, device_memory: int
) -> None:
    model = build(tmp_path)
    samples = save_samples(tmp_path, (3, 4, 4), SAMPLES)
    options: dict[str, Any] = {"count": SAMPLES, "batch_size": 5}
    _, expected = run(model, samples, **options)
    kept: list[str] = []
    keep = ValueStore.keep

    def watch(store: ValueStore, batch: int, position: int, made: Any, wanted: Any) -> bool:
        kept.extend(type(value).__name__ for value in made.values())
        return keep(store, batch, position, made, wanted)

    monkeypatch.setattr(ValueStore, "keep", watch)
    device = Device(((CPU, {}),), "bound", 0, memory="cpu")
    monkeypatch.setattr(opening, "select_device", lambda *_, **__: device)
    _, written = run(model, samples, device_memory_bytes=device_memory, **options)
    assert "DeviceArray" in kept
    assert_same(written, expected)


def assert_same(written: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    assert written.keys() == expected.keys()
    for name, value in written.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_a_value_that_stays_keeps_nothing_else_alive() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    graph = helper.make_graph(nodes, "g", [tensor("x")], [tensor("y"), tensor("z")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    device = Device(((CPU, {}),), "bound", 0, memory="cpu")
    with Session(model.SerializeToString(), {}, device) as session:
        native = weakref.ref(session._session._sess)
        fetched = session.run(["y", "z"], {"x": np.ones(3, np.float32)}, {"y"})
    assert native() is None
    assert isinstance(fetched["y"], DeviceArray)
    np.testing.assert_array_equal(fetched["y"].numpy(), np.ones(3, np.float32))


def test_a_store_moves_what_the_device_has_no_room_for() -> None:
    values = {name: on_device(np.full(100, i, np.float32)) for i, name in enumerate("abc")}
    store = ValueStore(400, None, device_bytes=800)
    assert store.keep(0, 1, values, set("abc"))
    loaded = store.load(0)
    assert sorted(type(value).__name__ for value in loaded.values()) == [
        "DeviceArray",
        "DeviceArray",
        "ndarray",
    ]
    assert not store.keep(1, 1, {"d": on_device(np.zeros(1, np.float32))}, {"d"})
    store.clear()
    assert store.keep(1, 1, {"d": on_device(np.zeros(1, np.float32))}, {"d"})


@pytest.mark.gpu
@WITHOUT_GPU
@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("build", MODELS)
def test_a_gpu_agrees_with_the_cpu_and_with_itself(
    tmp_path: Path, build: Build, batch_size: int | None
) -> None:
    model = build(tmp_path)
    samples = save_samples(tmp_path, (3, 4, 4), SAMPLES)
    options: dict[str, Any] = {"count": SAMPLES, "batch_size": batch_size}
    expected, _ = run(model, samples, **options)
    report, written = run(model, samples, device="cuda", **options)
    assert report.device.startswith("cuda")
    np.testing.assert_allclose(scales(report), scales(expected), rtol=1e-4)
    _, again = run(model, samples, device="cuda", **options)
    assert_same(again, written)
    _, moved = run(model, samples, device="cuda", device_memory_bytes=4, **options)
    if batch_size is not None:
        assert_same(moved, written)


@pytest.mark.gpu
@WITHOUT_GPU
def test_a_gpu_measures_large_planes(tmp_path: Path) -> None:
    # cuDNN has a hand in their means, with a window of the plane's size.
    weights = {"c": random_weight(4, 3, 3, 3)}
    model = save_graph(tmp_path / "m.onnx", [node("Conv", "x c", "y")], weights, ["n", 3, 600, 600])
    samples = save_samples(tmp_path, (3, 600, 600), 2)
    expected, _ = run(model, samples, count=2)
    report, _ = run(model, samples, count=2, device="cuda")
    np.testing.assert_allclose(scales(report), scales(expected), rtol=1e-4)


@pytest.mark.gpu
@WITHOUT_GPU
def test_torch_draws_on_the_gpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    matrix = random_weight(64, 32)
    q, r = choose_qr(float("inf"), "cuda:0").qr(matrix)
    np.testing.assert_allclose(q @ r, matrix, atol=1e-5)
    np.testing.assert_array_equal(choose_qr(float("inf"), "cuda:0").qr(matrix)[0], q)


@pytest.mark.gpu
@WITHOUT_GPU
@pytest.mark.processes
def test_two_gpus_share_the_samples(processes: Processes) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.device_count() < 2 or not torch.distributed.is_nccl_available():
        pytest.skip("needs two GPUs, and a PyTorch with CUDA and NCCL")
    model = convolutional(processes.cwd)
    samples = save_samples(processes.cwd, (3, 4, 4), SAMPLES)
    given = ("init", model, "--data", samples, "--samples", "all", "--out", "out", "--json")
    processes.torchrun(2, "-m", "lsuv_cli", *given, "--device", "cuda")
    assert processes.codes() == [0], processes.stderr
    together = json.loads(processes.stdout)
    expected, _ = run(model, samples, count=SAMPLES)
    assert together["samples"]["processes"] == 2
    found = np.concatenate([np.ravel(layer["scale"]) for layer in together["layers"]])
    np.testing.assert_allclose(found, scales(expected), rtol=1e-4)
